"""What replaces the energy and the proposal mean when sampling with a condition (spec §8)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import gin
import torch
from torch import Tensor

from modules.checks import check_number
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
