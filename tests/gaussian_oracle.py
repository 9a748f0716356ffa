"""Gaussian data, for which everything the methods learn is known: energy, posterior, samples."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.core.noise import Noise
from modules.core.types import Transition
from modules.energies.analytic import GaussianEnergy
from modules.initializers.base import Initializer

MEAN = torch.tensor([0.6, -0.3], dtype=torch.float64)
VARIANCE = torch.tensor([0.5, 0.02], dtype=torch.float64)
ENERGY = GaussianEnergy((2,), MEAN, VARIANCE)


def data(noise: Noise) -> Tensor:
    """Points (b, 2) of the data."""
    return MEAN + VARIANCE.sqrt() * noise.normal("data", (2,))


class ExactProposal(Initializer):
    """Proposes y from p(y | x_t) itself, by conditioning the Gaussian (y, x_t): no chain is needed."""

    def __init__(self) -> None:
        super().__init__((2,))

    def _gain(self, c: Transition) -> tuple[Tensor, Tensor]:
        """Variance of y and Cov(y, x_t)/Var(x_t), each (b, 2); at the top y is independent of x_t."""
        variance = (c.y_scale**2)[:, None] * (c.alpha_s[:, None] ** 2 * VARIANCE + c.sigma_s[:, None] ** 2)
        gain = variance / (c.alpha_t[:, None] ** 2 * VARIANCE + c.sigma_t[:, None] ** 2)
        return variance, torch.where(c.is_top[:, None], 0.0, gain)

    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        center = (transition.y_scale * transition.alpha_s)[:, None] * MEAN
        return center + self._gain(transition)[1] * (x_t - transition.alpha_t[:, None] * MEAN)

    def propose(self, mean: Tensor, transition: Transition, noise: Noise) -> Tensor:
        variance, gain = self._gain(transition)
        return mean + (variance * (1 - gain)).sqrt() * noise.normal("proposal", (2,))
