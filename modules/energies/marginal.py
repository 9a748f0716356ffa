"""The unnormalized log marginal of a level, as a potential of x_s itself (spec §11)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.core.tensors import expand_as
from modules.core.types import EnergyFn, Transition
from modules.energies.recovery import energy_and_grad


class MarginalPotential:
    """U(x_s) = E(y_scale x_s)/energy_scale = -F_s(x_s): -log p_s(x_s) up to a constant (spec §11).

    Args:
        energy: y (b, ...) -> (b,), bound to the transition's level.
        transition: of the b samples.
    """

    def __init__(self, energy: EnergyFn, transition: Transition) -> None:
        self._energy = energy
        self._scale, self._inverse = transition.y_scale, 1 / transition.energy_scale

    def __call__(self, y: Tensor) -> Tensor:
        """U (b,) of x_s = y."""
        return self._energy(expand_as(self._scale, y) * y) * self._inverse

    def grad(self, y: Tensor) -> Tensor:
        """∇U, shaped like y, detached."""
        return self.value_and_grad(y)[1]

    @torch.no_grad()
    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """U (b,) and ∇U, detached."""
        value, slope = energy_and_grad(self._energy, expand_as(self._scale, y) * y)
        return value * self._inverse, slope * expand_as(self._scale * self._inverse, y)
