"""T1k's ladder: every fine step of a linear β is a level (spec §9)."""

from __future__ import annotations

from typing import ClassVar

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.schedules.betas import ladder, linear_betas
from modules.schedules.score import ScoreSchedule


@gin.register
class LinearSchedule(ScoreSchedule):
    """T1k's ladder: every fine step is a level, level 0 is clean, no Langevin chain (spec §9).

    energy_scale = σ̄_t; step_size = σ_t, the deviation of the Gaussian step; no level is a marginal model;
    loss_weight is 1.

    Args:
        num_levels: T; beta_min, beta_max: β_1 and β_T.
        num_used: levels that are kept for fewer steps, evenly spread and with T among them; None: all.
    """

    kept_as: ClassVar[dict[str, str]] = {"num_levels": "num_fine"}  # num_levels itself is what is used

    def __init__(
        self,
        num_levels: int = 1000,
        beta_min: float = 1e-4,
        beta_max: float = 2e-2,
        num_used: int | None = None,
    ) -> None:
        check_integer("LinearSchedule.num_levels", num_levels, low=2, high=100_000)
        check_number("LinearSchedule.beta_min", beta_min, above=0)
        check_number("LinearSchedule.beta_max", beta_max, low=beta_min, high=0.999)
        if num_used is not None:
            check_integer("LinearSchedule.num_used", num_used, low=1, high=num_levels)
        self.num_fine, self.beta_min, self.beta_max = num_levels, beta_min, beta_max
        self.num_used = num_used
        self.betas = linear_betas(num_levels, beta_min, beta_max)
        super().__init__(num_used or num_levels)
        self.logsnr_max, self.logsnr_min = (float(self._table["logsnr_t"][i]) for i in (0, -1))

    def ladder(self) -> tuple[Tensor, Tensor]:
        """ᾱ_0 = 1, then the cumulative product of 1 - β, at the levels used."""
        used = torch.linspace(0, self.num_fine, self.num_levels + 1, dtype=torch.float64).round().long()
        return ladder(torch.cat([torch.zeros(1).double(), torch.log1p(-self.betas).cumsum(0)])[used])

    def with_levels(self, num_levels: int) -> LinearSchedule:
        """The same fine steps, of which T = num_levels are used."""
        if num_levels > self.num_fine:
            raise ConfigurationError(
                f"--ladder {num_levels}: the energy was trained on {self.num_fine} levels: ask for no more"
            )
        return LinearSchedule(self.num_fine, self.beta_min, self.beta_max, num_levels)

    def logsnr_at(self, position: Tensor) -> Tensor:
        """λ_t of t = ⌈u·T⌉, so that u uniform is t uniform in 1..T."""
        t = (position * self.num_levels).ceil().long().clamp(1, self.num_levels)
        return self._table["logsnr_t"].to(position)[t - 1]

    def coefficients(self, ladder: dict[str, Tensor]) -> dict[str, Tensor]:
        """spec §9: f is divided by σ̄_t; the step is σ_t; every level has its recovery term."""
        return {
            "energy_scale": ladder["sigma_t"],
            "step_size": ladder["sigma_ts"],
            "loss_weight": torch.ones(self.num_levels, dtype=torch.float64),
            "is_top": torch.zeros(self.num_levels, dtype=torch.bool),
            "y_scale": ladder["alpha_ts"],
        }
