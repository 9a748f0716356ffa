"""Gaussian data whose coordinates hang together: conditional and product laws are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.core.types import Transition
from modules.energies.base import Energy


class CorrelatedGaussian(Energy):
    """The exact energy of data x ~ N(mean, covariance): log p(y) = -E/energy_scale + const.

    Args:
        mean: (d,); covariance: (d, d).
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__(tuple(mean.shape))
        self.mean, self.covariance = mean, covariance

    def law(self, transition: Transition) -> tuple[Tensor, Tensor]:
        """Mean (d,) and precision (d, d) of y at the level of the first row."""
        c = transition.map(lambda v: v[0])
        scale = torch.where(c.is_top, 1.0, c.alpha_ts)
        identity = torch.eye(len(self.mean), dtype=torch.float64)
        spread = scale**2 * (c.alpha_s**2 * self.covariance + c.sigma_s**2 * identity)
        return scale * c.alpha_s * self.mean, torch.linalg.inv(spread)

    def recovery_law(self, transition: Transition, x_t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and precision of y given x_t (d,): the tether added, but at the top."""
        mean, precision = self.law(transition)
        tether = torch.where(transition.is_top[0], 0.0, 1 / transition.sigma_ts[0] ** 2)
        total = precision + tether * torch.eye(len(mean), dtype=torch.float64)
        return torch.linalg.solve(total, precision @ mean + tether * x_t), total

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        mean, precision = self.law(transition)
        return 0.5 * transition.energy_scale * ((y - mean) @ precision * (y - mean)).sum(1)
