"""Annealed importance sampling of an energy's normalizing constant, along its own ladder (spec §11)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer
from modules.core.tensors import sum_per_sample
from modules.core.types import NoiseSource, Potential
from modules.energies.base import Energy
from modules.energies.marginal import MarginalPotential
from modules.samplers.metropolis import MetropolisSampler
from modules.schedules.base import Schedule

TUNED_BY = 0.5  # how much ln h moves for a unit of acceptance beside the target, at a stage of the pilot


class StandardNormal:
    """U = ½||x||² + D/2 log 2π = -log N(x; 0, I)."""

    def __call__(self, y: Tensor) -> Tensor:
        """U (b,)."""
        return 0.5 * sum_per_sample(y**2) + 0.5 * y[0].numel() * math.log(2 * math.pi)

    def grad(self, y: Tensor) -> Tensor:
        """y."""
        return y.detach()

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """U (b,) and y."""
        return self(y.detach()), y.detach()


class Bridge:
    """U = (1-β) U_a + β U_b, the geometric bridge of two densities."""

    def __init__(self, first: Potential, second: Potential, share: float) -> None:
        self._first, self._second, self._share = first, second, share

    def __call__(self, y: Tensor) -> Tensor:
        """U (b,)."""
        return (1 - self._share) * self._first(y) + self._share * self._second(y)

    def grad(self, y: Tensor) -> Tensor:
        """∇U, shaped like y."""
        return self.value_and_grad(y)[1]

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """U (b,) and ∇U."""
        if self._share == 1:
            return self._second.value_and_grad(y)
        (u, du), (v, dv) = self._first.value_and_grad(y), self._second.value_and_grad(y)
        return (1 - self._share) * u + self._share * v, (1 - self._share) * du + self._share * dv


class AnnealingPath:
    """N(0, I) → level T-1 → ... → level 0 of an energy, with geometric bridges between neighbours.

    Stage k = 1..T·bridges has the potential U_k; stage 0 is N(0, I), which is normalized.

    Args:
        energy, schedule: of a run. bridges: steps from each level to the next.

    Raises:
        ConfigurationError: a ladder whose level 0 has no noise, so that its energy is of no density.
    """

    def __init__(self, energy: Energy, schedule: Schedule, bridges: int) -> None:
        check_integer("bridges", bridges, low=1)
        self.energy, self.schedule, self.bridges = energy, schedule, bridges
        self.num_levels = schedule.num_levels
        t = torch.arange(1, self.num_levels + 1)
        widths = schedule.transition(t, torch.float64).sigma_s
        if not bool((widths > 0).all()):
            raise ConfigurationError(
                f"level 0 of a {type(schedule).__name__} is clean, and has no density to be annealed to"
            )
        self._log_widths = [0.0, *widths.flip(0).log().tolist()]

    @property
    def num_stages(self) -> int:
        """T·bridges."""
        return self.num_levels * self.bridges

    def level(self, j: int, x: Tensor) -> Potential:
        """U of N(0, I), j = 0, or of level T - j, for x (b, ...)."""
        if j == 0:
            return StandardNormal()
        t = torch.full((len(x),), self.num_levels - j + 1, device=x.device)
        transition = self.schedule.transition(t, x.dtype)
        label = torch.full_like(t, -1) if self.energy.num_classes else None
        return MarginalPotential(self.energy.at(transition, label), transition)

    def width(self, k: int) -> float:
        """About how far elements of stage k spread: σ̄, between levels its geometric mean."""
        j, rest = divmod(k, self.bridges)
        share = rest / self.bridges
        return math.exp(
            (1 - share) * self._log_widths[j] + share * self._log_widths[min(j + 1, self.num_levels)]
        )


@dataclass(frozen=True)
class Annealed:
    """b chains on their way: `stages` of them done, x (b, *shape), log weights (b,) float64.

    trace: (k, b) float64, log weights at each of the k times that the chains were kept, the last one too.
    """

    stages: int
    x: Tensor
    log_weight: Tensor
    trace: Tensor

    @staticmethod
    def start(x: Tensor) -> Annealed:
        """Chains at x (b, *shape) with equal weights."""
        none = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return Annealed(0, x, none, none[None][:0])


@torch.no_grad()
def anneal(
    path: AnnealingPath,
    sampler: MetropolisSampler,
    steps: Tensor,
    x: Tensor,
    noise: NoiseSource,
    reverse: bool = False,
    done: Annealed | None = None,
) -> Iterator[Annealed]:
    """Chains from N(0, I) to level 0, or back, yielded at each level, to be kept and gone on with.

    Forward log w = Σ_k [U_{k-1}(x_{k-1}) - U_k(x_{k-1})], x_k from x_{k-1} by a transition that leaves U_k as
    it is; the mean of w is Z (Neal 2001). In reverse each transition comes before its step of the weight, and
    the mean of w is 1/Z.

    Args:
        sampler: its transitions are reversible; its own warm-up is left out.
        steps: (T·bridges,), the step size of each stage, fixed beforehand: see `tune`.
        x: (b, *shape), draws of N(0, I), or of level 0 for `reverse`.
        done: where to go on; None: at the start.
    """
    sampler = sampler.settled()
    state = done or Annealed.start(x)
    x, log_weight, trace = state.x, state.log_weight, state.trace
    segments = range(path.num_levels, 0, -1) if reverse else range(1, path.num_levels + 1)
    for number, j in enumerate(segments):
        if number < state.stages // path.bridges:
            continue
        first, second = path.level(j - 1, x), path.level(j, x)
        numbers = range(1, path.bridges + 1)
        for i in reversed(numbers) if reverse else numbers:
            k = (j - 1) * path.bridges + i
            if not reverse:
                log_weight = log_weight + ((first(x) - second(x)) / path.bridges).double()
            bridge = Bridge(first, second, i / path.bridges)
            size = torch.full_like(x.flatten(1)[:, 0], float(steps[k - 1]))
            x = sampler.sample(bridge, x, size, noise.child(f"stage {k}")).y
            if reverse:
                log_weight = log_weight + ((second(x) - first(x)) / path.bridges).double()
        trace = torch.cat([trace, log_weight[None]])
        yield Annealed((number + 1) * path.bridges, x, log_weight, trace)


@torch.no_grad()
def tune(path: AnnealingPath, sampler: MetropolisSampler, x: Tensor, noise: NoiseSource) -> Tensor:
    """Step sizes (T·bridges,) float64 of all stages at the sampler's target acceptance, by a pilot.

    Args:
        x: (b, *shape), draws of N(0, I) that are not counted.
    """
    sampler, log_factor, steps = sampler.settled(), 0.0, []
    for j in range(1, path.num_levels + 1):
        first, second = path.level(j - 1, x), path.level(j, x)
        for i in range(1, path.bridges + 1):
            k = (j - 1) * path.bridges + i
            bridge = Bridge(first, second, i / path.bridges)
            for turn in range(20 if k == 1 else 1):
                size = torch.full_like(x.flatten(1)[:, 0], path.width(k) * math.exp(log_factor))
                chain = sampler.sample(bridge, x, size, noise.child(f"pilot {k} {turn}"))
                x = chain.y
                assert chain.acceptance is not None
                log_factor += TUNED_BY * (float(chain.acceptance.mean()) - sampler.target)
            steps.append(path.width(k) * math.exp(log_factor))
    return torch.tensor(steps, dtype=torch.float64)


@dataclass(frozen=True)
class LogMean:
    """An estimate in nats, its standard error, and the effective number of the `num` weights behind it."""

    value: float
    error: float
    effective: float
    num: int


def log_mean(log_weight: Tensor, sign: int = 1) -> LogMean:
    """sign·log of the mean of e^{log weights} (n,); its error by the delta method.

    effective = (Σw)²/Σw² (Kish); a small share of n says that few chains carry the estimate, and that the
    error is itself uncertain.

    Raises:
        ConfigurationError: fewer than two weights.
    """
    n = len(log_weight)
    if n < 2:
        raise ConfigurationError("an error needs two chains at least: raise --chains")
    w = (log_weight.double() - log_weight.max()).exp()
    value = float(log_weight.double().logsumexp(0)) - math.log(n)
    effective = float(w.sum() ** 2 / w.square().sum())
    error = float(w.std() / w.mean()) / math.sqrt(n)
    return LogMean(sign * value, error, effective, n)


def by_level(forward: Tensor, reverse: Tensor) -> list[tuple[LogMean, LogMean]]:
    """log Z of each level where chains were kept, level 0 first, by both directions' traces (k, n) each.

    Forward that of a level is the mean weight there. In reverse it is that of the rest of the way: the chains
    stand for draws of the level as far as their moves have brought them there.
    """
    whole = torch.cat([torch.zeros_like(reverse[:1]), reverse])
    last = whole[-1]
    return [
        (log_mean(down), log_mean(last - up, -1))
        for down, up in zip(forward.flip(0), whole[:-1], strict=True)
    ]


def sandwich(forward: LogMean, reverse: LogMean) -> tuple[float, float]:
    """log Z and its error: the mean of the forward estimate, low on average, and the reverse one, high.

    The error has both standard errors and half the gap, which is what annealing too quickly leaves.
    """
    value, gap = 0.5 * (forward.value + reverse.value), 0.5 * abs(forward.value - reverse.value)
    return value, math.sqrt(0.25 * (forward.error**2 + reverse.error**2) + gap**2)
