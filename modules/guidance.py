"""What replaces the energy and the proposal mean when sampling with a condition (spec §8)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import gin
import torch
from torch import Tensor

from modules.checks import check_number
from modules.energies.base import Energy
from modules.initializers.base import Initializer
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

    def _combine(self, both: Tensor) -> Tensor:
        conditional, unconditional = both.chunk(2)
        return (1 + self.scale) * conditional - self.scale * unconditional

    def energy(self, energy: Energy, transition: Transition, label: Tensor) -> EnergyFn:
        if self.scale == 0:
            return energy.at(transition, label)
        both = energy.at(transition.map(_twice), torch.cat([label, torch.full_like(label, -1)]))
        return lambda y: self._combine(both(_twice(y)))

    def mean(self, initializer: Initializer, x_t: Tensor, transition: Transition, label: Tensor) -> Tensor:
        if self.scale == 0:
            return initializer.mean(x_t, transition, label)
        labels = torch.cat([label, torch.full_like(label, -1)])
        return self._combine(initializer.mean(_twice(x_t), transition.map(_twice), labels))


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])
