"""Several conditions of one model, each with its weight (spec §8)."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.core.types import EnergyFn, Transition
from modules.energies.base import Energy
from modules.guidance.base import Guidance
from modules.guidance.weighted import WeightedEnergy, weighted
from modules.initializers.base import Initializer


@gin.register
class Composition(Guidance):
    """f = f(·|c) + Σ_k w_k [f(·|c_k) - f(·|none)], and the proposal mean alike (spec §8).

    c is a sample's own label, most often none. One condition of weight 1 + w, with c none, is
    classifier-free guidance of scale w; a weight below 0 means "not this".

    Args:
        labels: c_k, class ids.
        weights: w_k, one for each.

    Raises:
        ConfigurationError: labels or weights that don't fit together.
    """

    def __init__(self, labels: Sequence[int], weights: Sequence[float]) -> None:
        if len(labels) != len(weights) or not labels:
            raise ConfigurationError(
                f"Composition needs a weight for each label, got {len(weights)} weights, {len(labels)} labels"
            )
        for label, weight in zip(labels, weights, strict=True):
            check_integer("Composition.labels' entries", label, low=0)
            check_number("Composition.weights' entries", weight)
        self.labels, self.weights = tuple(labels), tuple(weights)

    def energy(self, energy: Energy, transition: Transition, label: Tensor) -> EnergyFn:
        label, weights = self._conditions(label)
        parts = energy.at(transition.map(lambda v: torch.cat([v] * len(weights))), label)
        return WeightedEnergy(parts, weights)

    def mean(self, initializer: Initializer, x_t: Tensor, transition: Transition, label: Tensor) -> Tensor:
        label, weights = self._conditions(label)
        count = len(weights)
        parts = initializer.mean(
            torch.cat([x_t] * count), transition.map(lambda v: torch.cat([v] * count)), label
        )
        return weighted(parts, weights)

    def _conditions(self, label: Tensor) -> tuple[Tensor, tuple[float, ...]]:
        """The conditions of b samples, one after another, and their weights; own labels if there are any."""
        conditions = [torch.full_like(label, c) for c in (*self.labels, -1)]
        weights = (*self.weights, -float(sum(self.weights)))
        if bool((label < 0).all()):
            weights = (*self.weights, 1 + weights[-1])
        else:
            conditions, weights = [*conditions, label], (*weights, 1.0)
        return torch.cat(conditions), weights
