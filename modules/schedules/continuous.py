"""A ladder through continuous levels, for energies that know them all (spec §13)."""

from __future__ import annotations

import math

import gin
import torch
from torch import Tensor

from modules.core.checks import check_integer, check_number
from modules.schedules.cosine import cosine_ladder
from modules.schedules.score import ScoreSchedule


@gin.register
class ContinuousSchedule(ScoreSchedule):
    """CDRL's cosine in logSNR of which any number of levels can be picked, in §13's coordinates.

    y = x_s, energy_scale = σ̄_s and step_size = √v with 1/v = 1/σ̄_s² + α_t/σ_t², the width of the recovery
    conditional: a Langevin step factor m then means the same at every level. Every level is tied to x_t.

    Args:
        num_levels: T; `with_levels` gives another.
        logsnr_max: λ_0, of the cleanest level.
        logsnr_min: λ_T.
    """

    def __init__(self, num_levels: int = 6, logsnr_max: float = 9.8, logsnr_min: float = -5.1) -> None:
        check_integer("ContinuousSchedule.num_levels", num_levels, low=1, high=100_000)
        check_number("ContinuousSchedule.logsnr_max", logsnr_max, high=20)
        check_number("ContinuousSchedule.logsnr_min", logsnr_min, low=-20)
        check_number("ContinuousSchedule.logsnr_max - logsnr_min", logsnr_max - logsnr_min, above=0)
        self.logsnr_max, self.logsnr_min = logsnr_max, logsnr_min
        super().__init__(num_levels)

    def ladder(self) -> tuple[Tensor, Tensor]:
        positions = torch.arange(self.num_levels + 1, dtype=torch.float64) / self.num_levels
        return cosine_ladder(positions, self.logsnr_max, self.logsnr_min)

    def coefficients(self, ladder: dict[str, Tensor]) -> dict[str, Tensor]:
        """spec §13."""
        precision = 1 / ladder["sigma_s"] ** 2 + (ladder["alpha_ts"] / ladder["sigma_ts"]) ** 2
        ones = torch.ones(self.num_levels, dtype=torch.float64)
        return {
            "energy_scale": ladder["sigma_s"],
            "step_size": precision.rsqrt(),
            "loss_weight": ones,
            "is_top": torch.zeros(self.num_levels, dtype=torch.bool),
            "y_scale": ones,
        }

    def with_levels(self, num_levels: int) -> ContinuousSchedule:
        """The same way from noise to data in T = num_levels steps."""
        return ContinuousSchedule(num_levels, self.logsnr_max, self.logsnr_min)

    def logsnr_at(self, position: Tensor) -> Tensor:
        """λ at positions u, u = t/T on a ladder (spec §1)."""
        low, high = (math.atan(math.exp(-0.5 * v)) for v in (self.logsnr_max, self.logsnr_min))
        return -2 * torch.log(torch.tan(low + (high - low) * position))
