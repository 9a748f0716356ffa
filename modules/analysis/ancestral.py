"""Annealing by the energy's own proposals, whose densities are known, in place of chains (spec §11, §13)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from modules.analysis.annealing import Annealed, StandardNormal
from modules.core.checks import ConfigurationError, check_integer
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import NoiseSource, Transition
from modules.energies.marginal import MarginalPotential
from modules.guidance.none import NoGuidance
from modules.guidance.proposal import proposal_mean
from modules.initializers.own import OwnProposal
from modules.methods.networks import Networks
from modules.schedules.forward import marginal, posterior_mean


class AncestralPath:
    """x_T ~ N(0, I), then x_s ~ p(x_s | x_t) of the own proposal by T = num_levels·fineness levels.

    A way down has the weight w = e^{-U_0(x_0)} Π q(x_t | x_s) / (N(x_T; 0, I) Π p(x_s | x_t)), q of the
    forward process. Its mean is Z whatever the proposals are; they and the number of levels decide the error
    (Sohl-Dickstein et al. 2015, Doucet et al. 2022). So does their variance, which lies between β̃_t, right
    for data that x_t tells exactly, and σ_t²/α_t, for data of which it tells nothing: β̃^{1-f} (σ²/α)^f.

    Args:
        networks: of a run. fineness: levels in the place of each of the run's.

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
        self.energy, self.initializer = energy, initializer
        self.schedule = schedule.with_levels(schedule.num_levels * fineness)
        self.fineness, self.num_stages = fineness, self.schedule.num_levels
        self.shares = torch.full((schedule.num_levels,), 0.5, dtype=torch.float64)  # f of each of the run's

    def transition(self, t: int, x: Tensor) -> Transition:
        """Of x (b, ...)."""
        return self.schedule.transition(torch.full((len(x),), t, device=x.device), x.dtype)

    def mean(self, x_t: Tensor, transition: Transition) -> Tensor:
        """Of p(x_s | x_t), without a label."""
        none = torch.full_like(transition.t, -1)
        return proposal_mean(NoGuidance(), self.energy, self.initializer, x_t, transition, none)

    def spread(self, transition: Transition) -> Tensor:
        """Standard deviation (b,) of p(x_s | x_t), by f of the run's level."""
        low, ratio = self._bounds(transition)
        share = self.shares.to(low.device)[(transition.t - 1) // self.fineness]
        return (low * ratio**share).sqrt()

    def _bounds(self, transition: Transition) -> tuple[Tensor, Tensor]:
        """β̃ and (σ²/α)/β̃, (b,) float64."""
        low = transition.posterior_var.double()
        return low, (transition.sigma_ts / transition.alpha_ts).double() ** 2 / low

    @torch.no_grad()
    def tune(self, x: Tensor, noise: NoiseSource) -> Tensor:
        """Set f, (T,) float64 of the run, by how far data x (b, *shape) stray from the proposals' mean."""
        found = []
        for t in range(1, self.num_stages + 1):
            c = self.transition(t, x)
            x_t = marginal(x, c.alpha_t, c.sigma_t, noise.normal("pilot", tuple(x.shape[1:]), t))
            # of x_s - mean = [x_s - E(x_s | x_t, x)] + [E(x_s | x_t, x) - mean] the first has the variance β̃
            missed = (posterior_mean(x, x_t, c) - self.mean(x_t, c)).double().square().mean()
            low, ratio = self._bounds(c)
            found.append((missed / low[0]).log1p() / ratio[0].log())
        self.shares = torch.stack(found).cpu().unflatten(0, (-1, self.fineness)).mean(1).clamp(0, 1)
        return self.shares

    def step_weight(self, x_s: Tensor, x_t: Tensor, mean: Tensor, transition: Transition) -> Tensor:
        """log q(x_t | x_s) - log p(x_s | x_t), (b,) float64."""
        forth = _log_normal(x_t - expand_as(transition.alpha_ts, x_s) * x_s, transition.sigma_ts)
        return forth - _log_normal(x_s - mean, self.spread(transition))

    def end_weight(self, x_0: Tensor) -> Tensor:
        """-U_0 (b,) float64."""
        first = self.transition(1, x_0)
        label = torch.full_like(first.t, -1) if self.energy.num_classes else None
        return -MarginalPotential(self.energy.at(first, label), first)(x_0).double()


@torch.no_grad()
def walk(
    path: AncestralPath, x: Tensor, noise: NoiseSource, reverse: bool = False, done: Annealed | None = None
) -> Iterator[Annealed]:
    """Ways down from x_T (b, *shape), or up from x_0, yielded after each level of the run.

    Log weights are those of log w going down and of -log w going up, whose mean weight is 1/Z.
    """
    if done is None:
        start = -path.end_weight(x) if reverse else StandardNormal()(x).double()
        done = Annealed(0, x, start)
    x, log_weight, shape = done.x, done.log_weight, tuple(done.x.shape[1:])
    for stage in range(done.stages + 1, path.num_stages + 1):
        c = path.transition(stage if reverse else path.num_stages - stage + 1, x)
        z = noise.normal("step", shape, stage)
        if reverse:
            x_t = expand_as(c.alpha_ts, x) * x + expand_as(c.sigma_ts, x) * z
            log_weight = log_weight - path.step_weight(x, x_t, path.mean(x_t, c), c)
            x = x_t
        else:
            mean = path.mean(x, c)
            x_s = mean + expand_as(path.spread(c), x).to(x.dtype) * z
            log_weight = log_weight + path.step_weight(x_s, x, mean, c)
            x = x_s
        if stage == path.num_stages:
            log_weight = log_weight + (-StandardNormal()(x).double() if reverse else path.end_weight(x))
        if stage % path.fineness == 0:
            yield Annealed(stage, x, log_weight)


def _log_normal(away: Tensor, std: Tensor) -> Tensor:
    """log N(away; 0, std² I) (b,) float64, of away (b, ...) and std (b,)."""
    size, std = away[0].numel(), std.double()
    square = sum_per_sample(away.double() ** 2)
    return -0.5 * square / std**2 - size * (std.log() + 0.5 * math.log(2 * math.pi))
