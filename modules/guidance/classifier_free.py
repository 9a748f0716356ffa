"""Classifier-free guidance (spec §8)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import check_number
from modules.core.types import EnergyFn, Transition
from modules.energies.base import Energy
from modules.guidance.base import Guidance
from modules.guidance.weighted import WeightedEnergy, weighted
from modules.initializers.base import Initializer


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
        return weighted(both, (1 + self.scale, -self.scale))


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])


def _and_none(label: Tensor) -> Tensor:
    """The labels (b,), then b times none."""
    return torch.cat([label, torch.full_like(label, -1)])
