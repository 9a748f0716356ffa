"""Weighted sums of evaluations that were made in one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modules.core.types import EnergyFn
from modules.energies.recovery import energy_and_grad


@dataclass(frozen=True)
class WeightedEnergy:
    """E = Σ_k w_k E_k, all E_k from one evaluation.

    Args:
        parts: y (k·b, ...) -> (k·b,), E_1 of the first b rows, and so on.
        weights: w_1..w_k.
    """

    parts: EnergyFn
    weights: tuple[float, ...]

    def _repeat(self, y: Tensor) -> Tensor:
        return torch.cat([y] * len(self.weights))

    def __call__(self, y: Tensor) -> Tensor:
        """E (b,)."""
        return weighted(self.parts(self._repeat(y)), self.weights)

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """E (b,) and ∇E, shaped like y."""
        values, slopes = energy_and_grad(self.parts, self._repeat(y))
        return weighted(values, self.weights), weighted(slopes, self.weights)


def weighted(parts: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Σ_k w_k of k pieces of the first axis."""
    pieces = zip(parts.chunk(len(weights)), weights, strict=True)
    return torch.stack([weight * part for part, weight in pieces]).sum(0)
