"""CDRL's ladder (spec §1)."""

from __future__ import annotations

import math

import gin
import torch
from torch import Tensor

from modules.core.checks import check_integer, check_number
from modules.schedules.langevin import LangevinSchedule


def cosine_ladder(positions: Tensor, logsnr_max: float, logsnr_min: float) -> tuple[Tensor, Tensor]:
    """ᾱ and 1 - ᾱ at t/T = `positions`: λ = -2 log tan(a·t/T + b) makes ᾱ = sigmoid(λ) = cos²."""
    b = math.atan(math.exp(-logsnr_max / 2))
    a = math.atan(math.exp(-logsnr_min / 2)) - b
    angle = a * positions + b
    return angle.cos() ** 2, angle.sin() ** 2


@gin.register
class CosineSchedule(LangevinSchedule):
    """CDRL's ladder, a truncated cosine in logSNR: λ_t = -2 log tan(a·t/T + b) (spec §1).

    Args:
        num_levels: T.
        logsnr_max: λ_0, of the cleanest level.
        logsnr_min: λ_T.
        step_variance: b² of the Langevin step (spec §2); 4e-4 in the published code.
        level_scaled: c_t = σ̄_{t-1}/σ̄_0, or off: 1 at every level, as in the published toy.
    """

    def __init__(
        self,
        num_levels: int = 6,
        logsnr_max: float = 9.8,
        logsnr_min: float = -5.1,
        step_variance: float = 4e-4,
        level_scaled: bool = True,
    ) -> None:
        check_integer("CosineSchedule.num_levels", num_levels, low=1, high=100_000)
        check_number("CosineSchedule.logsnr_max", logsnr_max, high=20)
        check_number("CosineSchedule.logsnr_min", logsnr_min, low=-20)
        check_number("CosineSchedule.logsnr_max - logsnr_min", logsnr_max - logsnr_min, above=0)
        self.logsnr_max, self.logsnr_min = logsnr_max, logsnr_min
        super().__init__(num_levels, step_variance, level_scaled)

    def ladder(self) -> tuple[Tensor, Tensor]:
        return cosine_ladder(self.positions(), self.logsnr_max, self.logsnr_min)

    def positions(self) -> Tensor:
        """t/T for t = 0..T."""
        return torch.arange(self.num_levels + 1, dtype=torch.float64) / self.num_levels
