"""Ladders for energies whose gradient is the noise (spec §9, §13)."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from modules.schedules.base import Schedule


class ScoreSchedule(Schedule):
    """A ladder of energies with -log p = E/σ̄ + const, so that any of its levels serve for sampling.

    Attributes:
        logsnr_max, logsnr_min: λ of the cleanest and of the noisiest level that is learned.
    """

    logsnr_max: float
    logsnr_min: float
    steps_are_widths = True

    @abstractmethod
    def logsnr_at(self, position: Tensor) -> Tensor:
        """λ (b,) at positions u (b,) in (0, 1) of the way from data to noise."""

    def transition_of(self, logsnr: Tensor) -> Tensor:
        """t (b,) of the transition that λ (b,) lies in, λ_t <= λ < λ_s: int64 in 1..T."""
        between = -self._table["logsnr_t"][:-1].to(logsnr)  # rising
        return torch.bucketize(-logsnr, between) + 1
