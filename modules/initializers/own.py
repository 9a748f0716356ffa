"""Proposals of the energy itself, in place of an initializer network (spec §13, §9)."""

from __future__ import annotations

from abc import abstractmethod

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_number
from modules.core.tensors import expand_as
from modules.core.types import EnergyFn, Transition
from modules.energies.recovery import energy_and_grad
from modules.initializers.base import Initializer
from modules.schedules.forward import posterior_mean
from modules.schedules.levels import level


class OwnInitializer(Initializer):
    """An initializer without weights that is handed the energy, guided or not, by whoever asks."""

    def energy_level(self, transition: Transition) -> Transition:
        """The level at which `mean_from` looks at the energy: that of x_t, in its own coordinates."""
        return level(transition.logsnr_t)

    @abstractmethod
    def mean_from(self, energy: EnergyFn, x_t: Tensor, transition: Transition) -> Tensor:
        """The mean of the proposal, in y, shaped like x_t; energy is bound to `energy_level`."""

    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """Raises: there's no mean without the energy."""
        raise ConfigurationError(
            f"{type(self).__name__} proposes from the energy: its mean is modules.guidance.proposal_mean's"
        )


@gin.register
class OwnProposal(OwnInitializer):
    """The posterior mean of q(x_s | x_t, x̂) with the energy's own x̂ (spec §13).

    ε̂ = ∇E(x_t, λ_t), x̂ = (x_t - σ̄_t ε̂)/√ᾱ_t, clamped; K = 0 is DDPM's ancestral sampler.

    Args:
        shape, num_classes: the energy's.
        limit: x̂ is clamped to [-limit, limit], a little more than the data's range; None: it isn't.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0, limit: float | None = 1.1) -> None:
        super().__init__(shape, num_classes)
        if limit is not None:
            check_number("OwnProposal.limit", limit, above=0)
        self.limit = limit

    def mean_from(self, energy: EnergyFn, x_t: Tensor, transition: Transition) -> Tensor:
        _, eps = energy_and_grad(energy, x_t)
        c = transition
        x = (x_t - expand_as(c.sigma_t, x_t) * eps) / expand_as(c.alpha_t, x_t)
        if self.limit is not None:
            x = x.clamp(-self.limit, self.limit)
        return expand_as(c.y_scale, x) * posterior_mean(x, x_t, c)


@gin.register
class GaussianStep(OwnInitializer):
    """T1k's step, a recovery conditional over whose width log p is linear (spec §9).

    √α_t x_s ~ N(x_t - σ_t² ∇E(x_t, λ_t)/σ̄_t, σ_t²), without noise at t = 1. No chain follows (K = 0).
    """

    def mean_from(self, energy: EnergyFn, x_t: Tensor, transition: Transition) -> Tensor:
        _, eps = energy_and_grad(energy, x_t)
        c = transition
        moved = x_t - expand_as(c.sigma_ts**2 / c.sigma_t, x_t) * eps
        return expand_as(c.y_scale / c.alpha_ts, x_t) * moved

    def spread(self, transition: Transition) -> Tensor:
        """σ_t y_scale/√α_t, and 0 at t = 1."""
        c = transition
        return torch.where(c.t == 1, 0.0, c.sigma_ts * c.y_scale / c.alpha_ts)
