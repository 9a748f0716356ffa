"""T1k's ladder: every fine step of a linear β is a level (spec §9)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import check_integer, check_number
from modules.schedules.base import Schedule
from modules.schedules.betas import ladder, linear_betas


@gin.register
class LinearSchedule(Schedule):
    """T1k's ladder: every fine step is a level, level 0 is clean, no Langevin chain (spec §9).

    energy_scale = σ̄_t; step_size = σ_t, the deviation of the Gaussian step; no level is a marginal model;
    loss_weight is 1.

    Args:
        num_levels: T; beta_min, beta_max: β_1 and β_T.
    """

    def __init__(self, num_levels: int = 1000, beta_min: float = 1e-4, beta_max: float = 2e-2) -> None:
        check_integer("LinearSchedule.num_levels", num_levels, low=2, high=100_000)
        check_number("LinearSchedule.beta_min", beta_min, above=0)
        check_number("LinearSchedule.beta_max", beta_max, low=beta_min, high=0.999)
        self.betas = linear_betas(num_levels, beta_min, beta_max)
        super().__init__(num_levels)

    def ladder(self) -> tuple[Tensor, Tensor]:
        """ᾱ_0 = 1, then the cumulative product of 1 - β."""
        return ladder(torch.cat([torch.zeros(1).double(), torch.log1p(-self.betas).cumsum(0)]))

    def coefficients(self, noise_var: Tensor, step_var: Tensor) -> dict[str, Tensor]:
        """spec §9: f is divided by σ̄_t; the step is σ_t; every level has its recovery term."""
        return {
            "energy_scale": noise_var[1:].sqrt(),
            "step_size": step_var.sqrt(),
            "loss_weight": torch.ones_like(step_var),
            "is_top": torch.zeros(self.num_levels, dtype=torch.bool),
        }
