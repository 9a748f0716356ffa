"""What the forward process says of an energy's change with the level (spec §13)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import check_number
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import EnergyFn, NoiseSource
from modules.energies.recovery import energy_and_grad
from modules.losses.phase import Phase


@gin.register
class FokkerPlanck:
    """ρ(∂U/∂λ - F)/D, F what the Fokker-Planck equation makes of the energy's own slopes in x.

    Densities p_λ of x_λ = √ᾱ x + σ̄ ε change with λ by the forward process's equation; for U = -log p_λ with
    ∇U = ∇E/σ̄, D the number of elements,

        ∂U/∂λ = F = ½ [ σ̄²D - σ̄ x·∇E + ||∇E||² - σ̄ ΔE ].

    It is LevelScore's E[τ | x_λ] with what the score knows of ε in ε's place, and has hardly any noise: of
    digits a standard deviation of 0.04 to 1.2 nats, τ 5.6. Where it holds everywhere, ∫ e^{-U} is the same at
    all levels, and Z with it. F is taken as a number: no gradient goes through it.

    ρ(r) = 2δ²(√(1 + r²/δ²) - 1) is r² of small r and 2δ|r| of large ones: before it is learned r is tens
    of nats near data, whose squares would shake the score.

    ΔE is one Hutchinson probe v of signs a row: v·[∇E(x + hσ̄v) - ∇E(x)]/(hσ̄). One gradient more.

    Sources: Lai et al. 2023 (arXiv 2210.04296), there of scores; Hutchinson 1989.

    Args:
        weight: a factor. first_step, last_step: the steps in which it counts; every: of them one in so many.
        limit: δ, nats. probe: h, of the noise's width: smaller ones lose digits in bf16.
    """

    def __init__(
        self,
        weight: float = 1.0,
        first_step: int = 0,
        last_step: int | None = None,
        every: int = 1,
        limit: float = 3.0,
        probe: float = 0.3,
    ) -> None:
        self.phase = Phase("FokkerPlanck", weight, first_step, last_step, every)
        self.settings = {**self.phase.settings, "every": every}
        check_number("FokkerPlanck.limit", limit, above=0)
        check_number("FokkerPlanck.probe", probe, above=0)
        self.limit, self.probe = limit, probe

    @torch.no_grad()
    def target(
        self, energy: EnergyFn, x: Tensor, logsnr: Tensor, noise: NoiseSource, slope: Tensor | None = None
    ) -> Tensor:
        """F (b,) of x (b, ...) at λ (b,).

        Args:
            energy: x -> E, bound to λ. slope: its ∇E (b, ...) at x, where that is known.
        """
        if slope is None:
            slope = energy_and_grad(energy, x)[1]
        sigma = torch.sigmoid(-logsnr).sqrt()
        wide = expand_as(sigma, x)
        # the sign of a normal: noise sources have no coin
        v = noise.normal("probe", tuple(x.shape[1:])).sign()
        moved = energy_and_grad(energy, x + self.probe * wide * v)[1]
        curvature = sum_per_sample((moved - slope) * v) / self.probe  # σ̄ v·∇²E v
        drift = sum_per_sample(slope * (slope - wide * x))
        return 0.5 * (sigma**2 * x[0].numel() + drift - curvature)

    def __call__(self, level_slope: Tensor, target: Tensor, size: int) -> Tensor:
        """The losses (b,) of ∂U/∂λ (b,) where F is `target`, of `size` elements."""
        square = ((level_slope - target) / self.limit) ** 2
        # √(1 + s) - 1, without the cancellation of small s
        return 2 * self.limit**2 / size * square / (1 + (1 + square).sqrt())
