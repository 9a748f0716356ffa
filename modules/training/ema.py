"""Exponential moving averages of network weights (spec §5)."""

from __future__ import annotations

import copy

import gin
import torch
from torch import nn

from modules.core.checks import check_bool, check_number
from modules.layers.spectral import converge


@gin.register
class EMA:
    """θ̄ ← d θ̄ + (1 - d) θ over parameters; buffers are the live network's.

    Args:
        decay: d in [0, 1).
        ramp: use min(d, (1 + n)/(10 + n)) at update n = 1, 2, ..., so that early averages forget the start;
            as published for CDRL, whose averages are torch_ema's. DRL's have no ramp.
    """

    def __init__(self, decay: float = 0.9999, ramp: bool = False) -> None:
        check_number("EMA.decay", decay, low=0, below=1)
        check_bool("EMA.ramp", ramp)
        self.decay, self.ramp = decay, ramp

    @staticmethod
    def copy_of(network: nn.Module) -> nn.Module:
        """The average's start: a frozen copy in eval mode."""
        return copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, average: nn.Module, network: nn.Module, num_updates: int) -> None:
        """Move `average` towards `network`, whose parameters have been updated num_updates times by now."""
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates)) if self.ramp else self.decay
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        for mean, live in zip(average.buffers(), network.buffers(), strict=True):
            mean.copy_(live)

    @staticmethod
    def ready(average: nn.Module) -> nn.Module:
        """The average made fit for use: its power-iteration vectors iterated to convergence (spec §5)."""
        converge(average)
        return average
