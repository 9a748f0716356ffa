"""Annealing by the energy's own proposals between exact moves, through any levels (spec §11, §13)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from modules.analysis.annealing import TUNED_BY, Annealed, StandardNormal
from modules.core.checks import ConfigurationError, check_integer
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import NoiseSource, Potential, Transition
from modules.energies.marginal import MarginalPotential
from modules.guidance.none import NoGuidance
from modules.guidance.proposal import proposal_mean
from modules.initializers.own import OwnProposal
from modules.methods.networks import Networks
from modules.samplers.metropolis import MetropolisSampler
from modules.schedules.forward import marginal, posterior_mean
from modules.schedules.levels import level, pair

_PILOT_LEVELS = 8  # transitions in each of the run's at which the pilot looks
_FIRST_SHARE = 0.5  # of σ̄, a step before the pilot has learned better
_WARMING = 20  # turns of the pilot at the noisiest level
_LEAST = 0.05  # of the roughest place's: nowhere are levels much rarer than the pilot can answer for


class AncestralPath:
    """x_T ~ N(0, I), then at each of n = T·fineness levels x_s ~ p(x_s | x_t), and moves that leave e^{-U_s}.

    A step down has the weight e^{U_t(x_t) - U_s(x_s)} q(x_t | x_s)/p(x_s | x_t), q of the forward process and
    U_n that of N(0, I); the mean of their product is Z_0 whatever proposals and moves are, which decide the
    error (Neal 2001, Del Moral et al. 2006; without moves Sohl-Dickstein et al. 2015). So does the proposals'
    variance, which lies between β̃_t, right for data that x_t tells exactly, and σ_t²/α_t, for data of which
    it tells nothing: β̃^{1-f} (σ²/α)^f.

    Args:
        networks: of a run. fineness: levels in the place of each of the run's.

    Attributes:
        logsnr: (n+1,) float64, λ from the cleanest level on. shares, steps: (n,) float64, f of each step down
            and the size of the moves after it. See `tune`, which sets them all.

    Raises:
        ConfigurationError: an initializer whose proposals come from elsewhere, or a ladder that is fixed.
    """

    def __init__(self, networks: Networks, fineness: int) -> None:
        check_integer("bridges", fineness, low=1)
        energy, initializer, schedule = networks.energy, networks.initializer, networks.schedule
        if not isinstance(initializer, OwnProposal):
            raise ConfigurationError(
                f"a {type(initializer).__name__} doesn't propose at all levels: take --moves chains"
            )
        self.energy, self.initializer, self.fineness = energy, initializer, fineness
        self.num_stages = schedule.num_levels * fineness
        t = torch.arange(1, self.num_stages + 1)
        fine = schedule.with_levels(self.num_stages).transition(t, torch.float64)
        self.logsnr = torch.cat([fine.logsnr_s, fine.logsnr_t[-1:]])
        self.shares = torch.full((self.num_stages,), 0.5, dtype=torch.float64)
        self.steps = _FIRST_SHARE * fine.sigma_s

    def transition(self, t: int, x: Tensor) -> Transition:
        """From level t to level t - 1, of x (b, ...)."""
        logsnr = self.logsnr[t - 1 : t + 1, None].expand(2, len(x)).to(x.device)
        c = pair(logsnr[0], logsnr[1])
        return c.map(lambda v: v.to(x.dtype) if v.is_floating_point() else v)

    def potential(self, k: int, x: Tensor) -> Potential:
        """U_k of level k for x (b, ...), E/σ̄; that of N(0, I) for k = n."""
        if k == self.num_stages:
            return StandardNormal()
        return self._marginal(float(self.logsnr[k]), x)

    def _marginal(self, logsnr: float, x: Tensor) -> MarginalPotential:
        at = level(torch.full((len(x),), logsnr, device=x.device, dtype=x.dtype))
        label = torch.full_like(at.t, -1) if self.energy.num_classes else None
        return MarginalPotential(self.energy.at(at, label), at)

    def mean(self, x_t: Tensor, transition: Transition) -> Tensor:
        """Of p(x_s | x_t), without a label."""
        none = torch.full_like(transition.t, -1)
        return proposal_mean(NoGuidance(), self.energy, self.initializer, x_t, transition, none)

    def step_weight(
        self, x_s: Tensor, x_t: Tensor, mean: Tensor, transition: Transition, share: float
    ) -> Tensor:
        """log q(x_t | x_s) - log p(x_s | x_t), (b,) float64."""
        forth = _log_normal(x_t - expand_as(transition.alpha_ts, x_s) * x_s, transition.sigma_ts)
        return forth - _log_normal(x_s - mean, spread(transition, share))

    @torch.no_grad()
    def tune(self, x: Tensor, noise: NoiseSource, sampler: MetropolisSampler | None = None) -> None:
        """Set f by how far data x (b, *shape) stray from the proposals' mean; the moves' steps; the levels.

        Levels come to lie so that the log weights of all steps spread alike over the data, which is where n
        steps have the least error (Gelman and Meng 1998). One step in each eighth of the run's levels is
        looked at; between them numbers go straight in λ, those of steps in ln h/σ̄.
        """
        each, log_factor = min(self.fineness, _PILOT_LEVELS), math.log(_FIRST_SHARE)
        looked = [1 + i * self.fineness // each for i in range(self.num_stages // self.fineness * each)]
        at, shares, rough, factors = [], [], [], []
        for turn, t in enumerate(reversed(looked)):
            c = self.transition(t, x)
            eps = [noise.normal("pilot", tuple(x.shape[1:]), 2 * t + i) for i in range(2)]
            x_s = marginal(x, c.alpha_s, c.sigma_s, eps[0])
            x_t = expand_as(c.alpha_ts, x) * x_s + expand_as(c.sigma_ts, x) * eps[1]
            mean, (low, ratio) = self.mean(x_t, c), bounds(c)
            # of x_s - mean = [x_s - E(x_s | x_t, x)] + [E(x_s | x_t, x) - mean] the first has the variance β̃
            missed = (posterior_mean(x, x_t, c) - mean).double().square().mean()
            share = float(((missed / low[0]).log1p() / ratio[0].log()).clamp(0, 1))
            logsnr_s, logsnr_t = self.logsnr[t - 1 : t + 1].tolist()
            gain = self._marginal(logsnr_t, x)(x_t).double() - self._marginal(logsnr_s, x)(x_s).double()
            weight = gain + self.step_weight(x_s, x_t, mean, c, share)
            shares.append(share)
            rough.append(float(weight.std()) / (logsnr_s - logsnr_t))
            at.append(logsnr_s)
            if sampler is not None and sampler.num_steps:
                potential, sigma = self._marginal(logsnr_s, x), float(c.sigma_s[0])
                for again in range(_WARMING if turn == 0 else 1):
                    size = torch.full_like(c.sigma_s, sigma * math.exp(log_factor))
                    chain = sampler.settled().sample(potential, x_s, size, noise.child(f"pilot {t} {again}"))
                    x_s = chain.y
                    assert chain.acceptance is not None
                    log_factor += TUNED_BY * (float(chain.acceptance.mean()) - sampler.target)
            factors.append(log_factor)
        knots = torch.tensor(at, dtype=torch.float64)
        self.logsnr = _spread_evenly(self.logsnr, knots, torch.tensor(rough, dtype=torch.float64))
        between = self.logsnr[:-1]
        self.shares = _straight(between, knots, torch.tensor(shares, dtype=torch.float64))
        factor = _straight(between, knots, torch.tensor(factors, dtype=torch.float64)).exp()
        self.steps = factor * torch.sigmoid(-between).sqrt()

    def tuned(self) -> dict[str, Tensor]:
        """What `tune` has set."""
        return {"logsnr": self.logsnr, "shares": self.shares, "steps": self.steps}

    def take(self, tuned: dict[str, Tensor]) -> None:
        """Set what another has tuned."""
        self.logsnr, self.shares, self.steps = (tuned[name] for name in ("logsnr", "shares", "steps"))


@torch.no_grad()
def walk(
    path: AncestralPath,
    sampler: MetropolisSampler | None,
    x: Tensor,
    noise: NoiseSource,
    reverse: bool = False,
    done: Annealed | None = None,
) -> Iterator[Annealed]:
    """Ways down from x_T (b, *shape), or up from x_0, yielded n/T times, at equal numbers of steps.

    Log weights are those of log w going down and of -log w going up, whose mean weight is 1/Z. Going up, the
    moves at a level come before the step to the next one.

    Args:
        sampler: of the moves, whose transitions are reversible; its warm-up is left out; None: no moves.
    """
    done = done or Annealed.start(x)
    x, log_weight, trace, shape = done.x, done.log_weight, done.trace, tuple(done.x.shape[1:])
    moves = sampler.settled() if sampler is not None and sampler.num_steps else None

    def moved(x: Tensor, k: int) -> Tensor:
        if moves is None:
            return x
        size = torch.full_like(x.flatten(1)[:, 0], float(path.steps[k]))
        return moves.sample(path.potential(k, x), x, size, noise.child(f"moves {k}")).y

    for stage in range(done.stages + 1, path.num_stages + 1):
        t = stage if reverse else path.num_stages - stage + 1
        c, share = path.transition(t, x), float(path.shares[t - 1])
        z = noise.normal("step", shape, stage)
        if reverse:
            x_s = moved(x, t - 1)
            x = x_t = expand_as(c.alpha_ts, x) * x_s + expand_as(c.sigma_ts, x) * z
            mean = path.mean(x_t, c)
        else:
            x_t, mean = x, path.mean(x, c)
            x_s = mean + expand_as(spread(c, share), x).to(x.dtype) * z
        gain = path.potential(t, x)(x_t).double() - path.potential(t - 1, x)(x_s).double()
        weight = gain + path.step_weight(x_s, x_t, mean, c, share)
        log_weight = log_weight + (-weight if reverse else weight)
        if not reverse:
            x = moved(x_s, t - 1)
        if stage % path.fineness == 0:
            trace = torch.cat([trace, log_weight[None]])
            yield Annealed(stage, x, log_weight, trace)


def spread(transition: Transition, share: float) -> Tensor:
    """Standard deviation (b,) float64 of p(x_s | x_t)."""
    low, ratio = bounds(transition)
    return (low * ratio**share).sqrt()


def bounds(transition: Transition) -> tuple[Tensor, Tensor]:
    """β̃ and (σ²/α)/β̃, (b,) float64."""
    low = transition.posterior_var.double()
    return low, (transition.sigma_ts / transition.alpha_ts).double() ** 2 / low


def _straight(places: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """values (m,) at rising knots, straight between them and level beyond, at places (k,), float64."""
    return torch.from_numpy(np.interp(places.numpy(), knots.numpy(), values.numpy()))


def _spread_evenly(logsnr: Tensor, knots: Tensor, rough: Tensor) -> Tensor:
    """Falling levels (n+1,) between the same ends, with the same integral of `rough` from one to the next."""
    low, high = float(logsnr[-1]), float(logsnr[0])
    grid = torch.linspace(low, high, 4001, dtype=torch.float64)
    density = _straight(grid, knots, rough)
    density = density.clamp(min=float(density.max()) * _LEAST)
    length = torch.cat([density.new_zeros(1), (0.5 * (density[1:] + density[:-1])).cumsum(0)])
    wanted = torch.linspace(0, 1, len(logsnr), dtype=torch.float64) * length[-1]
    found = _straight(wanted, length, grid).flip(0)
    found[0], found[-1] = high, low
    return found


def _log_normal(away: Tensor, std: Tensor) -> Tensor:
    """log N(away; 0, std² I) (b,) float64, of away (b, ...) and std (b,)."""
    size, std = away[0].numel(), std.double()
    square = sum_per_sample(away.double() ** 2)
    return -0.5 * square / std**2 - size * (std.log() + 0.5 * math.log(2 * math.pi))
