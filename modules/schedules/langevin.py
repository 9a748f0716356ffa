"""Ladders whose levels are sampled by Langevin chains (spec §2)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_bool, check_number
from modules.schedules.base import Schedule


class LangevinSchedule(Schedule):
    """A ladder whose levels are sampled by Langevin chains, the top level as a marginal model (spec §2).

    Args:
        num_levels: T.
        step_variance: b² of s_t² = b² c_t σ_t².
        level_scaled: c_t = σ̄_{t-1}/σ̄_0, or off: c_t = 1.

    Raises:
        ConfigurationError: a step beyond the tether's stability, b² c_t >= 4 below the top.
    """

    def __init__(self, num_levels: int, step_variance: float, level_scaled: bool = True) -> None:
        check_bool(f"{type(self).__name__}.level_scaled", level_scaled)
        check_number(f"{type(self).__name__}.step_variance", step_variance, above=0)
        self.step_variance, self.level_scaled = step_variance, level_scaled
        super().__init__(num_levels)

    def coefficients(self, ladder: dict[str, Tensor]) -> dict[str, Tensor]:
        """s_t² = b² c_t σ_t² and w_t = σ_1/σ_t (spec §2, §5)."""
        noise, step = ladder["sigma_s"], ladder["sigma_ts"]
        growth = noise / noise[0] if self.level_scaled else 1.0
        langevin_var = self.step_variance * growth * step**2
        is_top = torch.arange(1, self.num_levels + 1) == self.num_levels
        self._check_stable(langevin_var[:-1] / step[:-1] ** 2)
        return {
            "energy_scale": langevin_var,
            "step_size": langevin_var.sqrt(),
            "loss_weight": step[0] / step,
            "is_top": is_top,
            "y_scale": torch.where(is_top, 1.0, ladder["alpha_ts"]),
        }

    def _check_stable(self, ratio: Tensor) -> None:
        """The tether alone multiplies a distance to x_t by 1 - b² c_t/2 a step: `ratio` is b² c_t."""
        if len(ratio) and not float(ratio.max()) < 4:
            t = int(ratio.argmax()) + 1
            raise ConfigurationError(
                f"{type(self).__name__}.step_variance {self.step_variance:g} makes b² c_t = "
                f"{float(ratio.max()):.3g} at t = {t}, and from 4 on every chain flies off: set it below "
                f"{4 * self.step_variance / float(ratio.max()):.3g}"
            )
