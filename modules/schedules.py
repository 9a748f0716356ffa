"""The noise ladder: every coefficient of a level pair, computed once in float64 (spec §1, §2, §9)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import gin
import torch
from torch import Tensor

from modules.checks import check_integer, check_number
from modules.types import Transition


class Schedule(ABC):
    """A ladder of levels 0..T and, per transition t = 1..T, the coefficients of `Transition`.

    Args:
        num_levels: T.
    """

    def __init__(self, num_levels: int) -> None:
        self.num_levels = num_levels
        self._placed: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
        # 1 - ᾱ is asked for, not derived: at the clean end the difference would lose digits
        alpha_bar, noise_var = self.ladder()
        ratio = alpha_bar[1:] / alpha_bar[:-1]
        step_var = noise_var[1:] - ratio * noise_var[:-1]
        logsnr = alpha_bar.log() - noise_var.log()
        self._table = {
            "alpha_t": alpha_bar[1:].sqrt(),
            "alpha_s": alpha_bar[:-1].sqrt(),
            "sigma_t": noise_var[1:].sqrt(),
            "sigma_s": noise_var[:-1].sqrt(),
            "alpha_ts": ratio.sqrt(),
            "sigma_ts": step_var.sqrt(),
            "posterior_var": noise_var[:-1] / noise_var[1:] * step_var,
            "logsnr_t": logsnr[1:],
            "logsnr_s": logsnr[:-1],
            **self.coefficients(noise_var, step_var),
        }

    @abstractmethod
    def ladder(self) -> tuple[Tensor, Tensor]:
        """ᾱ_t and 1 - ᾱ_t for t = 0..T, each (T+1,) float64."""

    @abstractmethod
    def coefficients(self, noise_var: Tensor, step_var: Tensor) -> dict[str, Tensor]:
        """energy_scale, step_size, loss_weight and is_top, each (T,), from 1 - ᾱ (T+1,) and σ_t² (T,)."""

    def transition(self, t: Tensor, dtype: torch.dtype = torch.float32) -> Transition:
        """The coefficients of transitions t, (b,) int64 in 1..T, on t's device."""
        key = (t.device, dtype)
        if key not in self._placed:
            self._placed[key] = {
                k: v.to(t.device, v.dtype if v.dtype == torch.bool else dtype) for k, v in self._table.items()
            }
        return Transition(t=t, **{k: v[t - 1] for k, v in self._placed[key].items()})

    def same_as(self, other: Schedule) -> bool:
        """Whether both ladders have equal coefficients, so that their models can be combined (spec §8)."""
        return self.num_levels == other.num_levels and all(
            torch.equal(v, other._table[k]) for k, v in self._table.items()
        )


class LangevinSchedule(Schedule):
    """A ladder whose levels are sampled by Langevin chains, the top level as a marginal model (spec §2).

    Args:
        num_levels: T.
        step_variance: b² of s_t² = b² c_t σ_t².
    """

    def __init__(self, num_levels: int, step_variance: float) -> None:
        check_number(f"{type(self).__name__}.step_variance", step_variance, above=0)
        self.step_variance = step_variance
        super().__init__(num_levels)

    def coefficients(self, noise_var: Tensor, step_var: Tensor) -> dict[str, Tensor]:
        """s_t² = b² c_t σ_t² with c_t = σ̄_{t-1}/σ̄_0, and w_t = σ_1/σ_t (spec §2, §5)."""
        langevin_var = self.step_variance * (noise_var[:-1] / noise_var[0]).sqrt() * step_var
        return {
            "energy_scale": langevin_var,
            "step_size": langevin_var.sqrt(),
            "loss_weight": (step_var[0] / step_var).sqrt(),
            "is_top": torch.arange(1, self.num_levels + 1) == self.num_levels,
        }


@gin.register
class CosineSchedule(LangevinSchedule):
    """CDRL's ladder, a truncated cosine in logSNR: λ_t = -2 log tan(a·t/T + b) (spec §1).

    Args:
        num_levels: T.
        logsnr_max: λ_0, of the cleanest level.
        logsnr_min: λ_T.
        step_variance: b² of the Langevin step (spec §2); 4e-4 in the published code.
    """

    def __init__(
        self,
        num_levels: int = 6,
        logsnr_max: float = 9.8,
        logsnr_min: float = -5.1,
        step_variance: float = 4e-4,
    ) -> None:
        check_integer("CosineSchedule.num_levels", num_levels, low=1, high=100_000)
        check_number("CosineSchedule.logsnr_max", logsnr_max, high=20)
        check_number("CosineSchedule.logsnr_min", logsnr_min, low=-20)
        check_number("CosineSchedule.logsnr_max - logsnr_min", logsnr_max - logsnr_min, above=0)
        self.logsnr_max, self.logsnr_min = logsnr_max, logsnr_min
        super().__init__(num_levels, step_variance)

    def ladder(self) -> tuple[Tensor, Tensor]:
        """λ = -2 log tan(angle) makes ᾱ = sigmoid(λ) = cos² and 1 - ᾱ = sin²."""
        b = math.atan(math.exp(-self.logsnr_max / 2))
        a = math.atan(math.exp(-self.logsnr_min / 2)) - b
        angle = a * self.positions() + b
        return angle.cos() ** 2, angle.sin() ** 2

    def positions(self) -> Tensor:
        """t/T for t = 0..T."""
        return torch.arange(self.num_levels + 1, dtype=torch.float64) / self.num_levels


def _linear_betas(num_fine: int, beta_min: float, beta_max: float) -> Tensor:
    return torch.linspace(beta_min, beta_max, num_fine, dtype=torch.float64)


def _ladder(log_alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """ᾱ and 1 - ᾱ from log ᾱ, accurate at both ends."""
    return log_alpha_bar.exp(), torch.expm1(log_alpha_bar).abs()


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
        betas = _linear_betas(self.num_fine, self.beta_min, self.beta_max)
        stride = self.num_fine // (2 * (self.num_levels - 1))
        picked = [i * stride for i in range(self.num_levels)] + [self.num_fine - 1]
        return _ladder(torch.log1p(-betas).cumsum(0)[picked])


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
        self.betas = _linear_betas(num_levels, beta_min, beta_max)
        super().__init__(num_levels)

    def ladder(self) -> tuple[Tensor, Tensor]:
        """ᾱ_0 = 1, then the cumulative product of 1 - β."""
        return _ladder(torch.cat([torch.zeros(1).double(), torch.log1p(-self.betas).cumsum(0)]))

    def coefficients(self, noise_var: Tensor, step_var: Tensor) -> dict[str, Tensor]:
        """spec §9: f is divided by σ̄_t; the step is σ_t; every level has its recovery term."""
        return {
            "energy_scale": noise_var[1:].sqrt(),
            "step_size": step_var.sqrt(),
            "loss_weight": torch.ones_like(step_var),
            "is_top": torch.zeros(self.num_levels, dtype=torch.bool),
        }
