"""What replaces the energy and the proposal mean when sampling with a condition (spec §8)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import gin
import torch
from torch import Tensor

from modules.checks import ConfigurationError, check_integer, check_number
from modules.energies.base import Energy
from modules.initializers.base import Initializer
from modules.recovery import energy_and_grad
from modules.types import EnergyFn, Transition


class Guidance(ABC):
    """Combines conditional evaluations of the networks; tether and noises stay as they are."""

    @abstractmethod
    def energy(self, energy: Energy, transition: Transition, label: Tensor) -> EnergyFn:
        """The guided energy, y (b, ...) -> (b,), for labels (b,) with -1 = none."""

    @abstractmethod
    def mean(self, initializer: Initializer, x_t: Tensor, transition: Transition, label: Tensor) -> Tensor:
        """The guided proposal mean, shaped like x_t."""


@gin.register
class NoGuidance(Guidance):
    """The networks as they are, with each sample's own label."""

    def energy(self, energy: Energy, transition: Transition, label: Tensor) -> EnergyFn:
        return energy.at(transition, label)

    def mean(self, initializer: Initializer, x_t: Tensor, transition: Transition, label: Tensor) -> Tensor:
        return initializer.mean(x_t, transition, label)


@gin.register
class ClassifierFreeGuidance(Guidance):
    """f_w = (1+w) f(·|c) - w f(·|none), and the proposal mean alike (spec §8).

    Args:
        scale: w. 0 is conditional sampling, -1 unconditional, larger is more typical of the class.
    """

    def __init__(self, scale: float = 0.0) -> None:
        check_number("ClassifierFreeGuidance.scale", scale)
        self.scale = scale

    def energy(self, energy: Energy, transition: Transition, label: Tensor) -> EnergyFn:
        if self.scale == 0:
            return energy.at(transition, label)
        both = energy.at(transition.map(_twice), _and_none(label))
        return WeightedEnergy(both, (1 + self.scale, -self.scale))

    def mean(self, initializer: Initializer, x_t: Tensor, transition: Transition, label: Tensor) -> Tensor:
        if self.scale == 0:
            return initializer.mean(x_t, transition, label)
        both = initializer.mean(_twice(x_t), transition.map(_twice), _and_none(label))
        return _weighted(both, (1 + self.scale, -self.scale))


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
        return _weighted(parts, weights)

    def _conditions(self, label: Tensor) -> tuple[Tensor, tuple[float, ...]]:
        """The conditions of b samples, one after another, and their weights; own labels if there are any."""
        conditions = [torch.full_like(label, c) for c in (*self.labels, -1)]
        weights = (*self.weights, -float(sum(self.weights)))
        if bool((label < 0).all()):
            weights = (*self.weights, 1 + weights[-1])
        else:
            conditions, weights = [*conditions, label], (*weights, 1.0)
        return torch.cat(conditions), weights


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
        return _weighted(self.parts(self._repeat(y)), self.weights)

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """E (b,) and ∇E, shaped like y."""
        values, slopes = energy_and_grad(self.parts, self._repeat(y))
        return _weighted(values, self.weights), _weighted(slopes, self.weights)


def _weighted(parts: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Σ_k w_k of k pieces of the first axis."""
    pieces = zip(parts.chunk(len(weights)), weights, strict=True)
    return torch.stack([weight * part for part, weight in pieces]).sum(0)


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])


def _and_none(label: Tensor) -> Tensor:
    """The labels (b,), then b times none."""
    return torch.cat([label, torch.full_like(label, -1)])
