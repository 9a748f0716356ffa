"""Metropolis-adjusted Langevin dynamics."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.samplers.metropolis import MetropolisSampler


@gin.register
class AdjustedLangevin(MetropolisSampler):
    """Langevin's step with η = 1 as a proposal that may be refused (MALA: Roberts and Tweedie 1996).

    It is one leapfrog step with a fresh momentum: y' = y - (m²s²/2) ∇U(y) + m·s·z, see MetropolisSampler.
    """

    def __init__(
        self, num_steps: int = 15, step_factor: float = 1.0, num_warmup: int = 0, target: float = 0.574
    ) -> None:
        super().__init__(num_steps, step_factor, num_warmup, target)

    def persistence(self, factor: Tensor) -> Tensor:
        """0: a fresh momentum a step."""
        return torch.zeros_like(factor)
