"""What one energy learns of its density: its slope in x, and its slope in the level (spec §13)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import check_bool, check_choice, check_number
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import Transition
from modules.losses.phase import Phase


@gin.register
class ScoreMatching:
    """||∇E(x_λ, λ) - ε||², summed over the elements: denoising score matching (Vincent 2011; spec §13, §9).

    Its minimum over all E is not 0 but E||ε||² - E||E[ε|x_λ]||²: what noise hides of ε.

    Args:
        weight: a factor. first_step, last_step: the steps in which it counts.
        exact: weigh with σ_t²/(2σ̄_t²), which makes T1k's regression its likelihood's bound (spec §9).
    """

    def __init__(
        self,
        weight: float = 1.0,
        first_step: int = 0,
        last_step: int | None = None,
        exact: bool = False,
    ) -> None:
        self.phase = Phase("ScoreMatching", weight, first_step, last_step)
        self.settings = self.phase.settings
        check_bool("ScoreMatching.exact", exact)
        self.exact = exact

    def __call__(self, slope: Tensor, eps: Tensor, transition: Transition) -> Tensor:
        """The losses (b,) of ∇E (b, ...) where the noise was ε, λ lying in the transition."""
        square = sum_per_sample((slope - eps) ** 2)
        return 0.5 * (transition.sigma_ts / transition.sigma_t) ** 2 * square if self.exact else square


@gin.register
class LevelScore:
    """(∂U/∂λ - τ)²/var, so that energies of all levels share one constant (arXiv 2506.05310; spec §13).

    τ = ½ Σ_i [ ᾱ(ε_i² - 1) - √ᾱ σ̄ ε_i x_i ] has the mean ∂/∂λ of the true -log p_λ given x_λ. var is its
    variance for Gaussian data of second moment v, D(½ᾱ² + ¼ᾱσ̄²v), so that levels weigh alike.

    Args:
        weight: a factor. first_step, last_step: the steps in which it counts.
        scaling: "variance", or "none": without the division by var.
        data_var: v.
        floor: added to var.
    """

    def __init__(
        self,
        weight: float = 1.0,
        first_step: int = 0,
        last_step: int | None = None,
        scaling: str = "variance",
        data_var: float = 0.5,
        floor: float = 0.1,
    ) -> None:
        self.phase = Phase("LevelScore", weight, first_step, last_step)
        self.settings = self.phase.settings
        check_choice("LevelScore.scaling", scaling, ("variance", "none"))
        check_number("LevelScore.data_var", data_var, above=0)
        check_number("LevelScore.floor", floor, above=0)
        self.scaling, self.data_var, self.floor = scaling, data_var, floor

    def target(self, x: Tensor, eps: Tensor, logsnr: Tensor) -> Tensor:
        """τ (b,) of clean x and its noise ε (b, ...) at λ (b,)."""
        alpha_bar, cross = torch.sigmoid(logsnr), (torch.sigmoid(logsnr) * torch.sigmoid(-logsnr)).sqrt()
        return 0.5 * sum_per_sample(expand_as(alpha_bar, x) * (eps**2 - 1) - expand_as(cross, x) * eps * x)

    def __call__(self, level_slope: Tensor, x: Tensor, eps: Tensor, logsnr: Tensor) -> Tensor:
        """The losses (b,) of ∂U/∂λ (b,)."""
        square = (level_slope - self.target(x, eps, logsnr)) ** 2
        if self.scaling == "none":
            return square
        alpha_bar, noise_var = torch.sigmoid(logsnr), torch.sigmoid(-logsnr)
        var = x[0].numel() * alpha_bar * (0.5 * alpha_bar + 0.25 * noise_var * self.data_var)
        return square / (var + self.floor)
