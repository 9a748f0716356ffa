"""Underdamped Langevin dynamics, Metropolis-adjusted."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import check_number
from modules.samplers.metropolis import MetropolisSampler


@gin.register
class UnderdampedLangevin(MetropolisSampler):
    """dy = p dt, dp = -(∇U + γp) dt + √(2γ) dW, made exact (Horowitz 1991), see MetropolisSampler.

    A step leaves κ = e^{-γm} of the momentum: time is measured in step sizes s.

    Args:
        friction: γ; towards 0 the motion is Hamilton's, and a large one gives AdjustedLangevin.
    """

    def __init__(
        self,
        num_steps: int = 15,
        friction: float = 1.0,
        step_factor: float = 1.0,
        num_warmup: int = 0,
        target: float = 0.9,
    ) -> None:
        super().__init__(num_steps, step_factor, num_warmup, target)
        check_number("UnderdampedLangevin.friction", friction, above=0)
        self.friction = friction

    def persistence(self, factor: Tensor) -> Tensor:
        """e^{-γm}."""
        return torch.exp(-self.friction * factor)
