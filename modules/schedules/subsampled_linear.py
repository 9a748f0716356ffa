"""DRL's ladder: levels picked from the fine steps of a linear β (spec §1)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import check_integer, check_number
from modules.schedules.betas import ladder, linear_betas
from modules.schedules.langevin import LangevinSchedule


@gin.register
class SubsampledLinearSchedule(LangevinSchedule):
    """DRL's ladder: β linear over fine steps, of which T + 1 are picked as levels (spec §1).

    Picked indices: i·floor(num_fine/(2(T-1))) for i = 0..T-1, then num_fine - 1. Level 0 is noisy too.

    Args:
        num_levels: T, at least 2.
        num_fine: fine steps; beta_min, beta_max: β of the first and the last one.
        step_variance: b² of the Langevin step (spec §2).
    """

    def __init__(
        self,
        num_levels: int = 6,
        num_fine: int = 1000,
        beta_min: float = 1e-4,
        beta_max: float = 2e-2,
        step_variance: float = 2e-4,
    ) -> None:
        check_integer("SubsampledLinearSchedule.num_levels", num_levels, low=2, high=100_000)
        check_integer("SubsampledLinearSchedule.num_fine", num_fine, low=2 * num_levels, high=1_000_000)
        check_number("SubsampledLinearSchedule.beta_min", beta_min, above=0)
        check_number("SubsampledLinearSchedule.beta_max", beta_max, low=beta_min, high=0.999)
        self.num_fine, self.beta_min, self.beta_max = num_fine, beta_min, beta_max
        super().__init__(num_levels, step_variance)

    def ladder(self) -> tuple[Tensor, Tensor]:
        """√ᾱ as the cumulative product of √(1-β) up to and including each picked index."""
        betas = linear_betas(self.num_fine, self.beta_min, self.beta_max)
        stride = self.num_fine // (2 * (self.num_levels - 1))
        picked = [i * stride for i in range(self.num_levels)] + [self.num_fine - 1]
        return ladder(torch.log1p(-betas).cumsum(0)[picked])
