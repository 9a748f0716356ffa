"""From an energy to the potential that a chain at one level follows (spec §2)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import EnergyFn, SelfDifferentiating, Transition


class RecoveryPotential:
    """U(y) = E(y)/energy_scale + [t < T] ||√α_t x_s - x_t||²/(2σ_t²) = -log p(y | x_t) + const (§2, §13).

    With y = y_scale x_s the tether is r²||y - x_t/r||²/(2σ_t²), r = √α_t/y_scale: 1 in the y of spec §2.

    Args:
        energy: y (b, ...) -> (b,), bound to the transition's level.
        transition: of the b samples.
        x_t: (b, ...), the noisier data that the recovery term ties y to.
    """

    def __init__(self, energy: EnergyFn, transition: Transition, x_t: Tensor) -> None:
        self._energy = energy
        stretch = transition.alpha_ts / transition.y_scale
        stretch = torch.where(transition.is_top, torch.ones_like(stretch), stretch)  # at the top it may be 0
        self._x_t, self.y_scale = x_t / expand_as(stretch, x_t), transition.y_scale
        self._inverse_scale = 1 / transition.energy_scale
        inverse_var = stretch**2 / transition.sigma_ts**2
        self._precision = torch.where(transition.is_top, torch.zeros_like(inverse_var), inverse_var)

    def __call__(self, y: Tensor) -> Tensor:
        """U (b,)."""
        tether = 0.5 * self._precision * sum_per_sample((y - self._x_t) ** 2)
        return self._energy(y) * self._inverse_scale + tether

    def grad(self, y: Tensor) -> Tensor:
        """∇U, shaped like y."""
        slope = energy_and_grad(self._energy, y)[1]
        return self._grad(slope, y, y - self._x_t)

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """U (b,) and ∇U, both detached."""
        energy, slope = energy_and_grad(self._energy, y)
        away = y.detach() - self._x_t
        value = energy * self._inverse_scale + 0.5 * self._precision * sum_per_sample(away**2)
        return value, self._grad(slope, y, away)

    def _grad(self, slope: Tensor, y: Tensor, away: Tensor) -> Tensor:
        pull = away.detach() * expand_as(self._precision, y)
        return torch.addcmul(pull, slope, expand_as(self._inverse_scale, y))


def energy_and_grad(energy: EnergyFn, y: Tensor) -> tuple[Tensor, Tensor]:
    """E (b,) and its gradient in y, both detached; samples don't mix, so one sum serves all rows.

    A SelfDifferentiating energy is asked for its gradient, any other goes through autograd.
    """
    if isinstance(energy, SelfDifferentiating):
        return energy.value_and_grad(y.detach())
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        values = energy(y)
        (slope,) = torch.autograd.grad(values.sum(), y)
    return values.detach(), slope
