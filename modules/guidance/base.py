"""What replaces the energy and the proposal mean when sampling with a condition (spec §8)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from modules.core.types import EnergyFn, Transition
from modules.energies.base import Energy
from modules.initializers.base import Initializer


class Guidance(ABC):
    """Combines conditional evaluations of the networks; tether and noises stay as they are."""

    @abstractmethod
    def energy(self, energy: Energy, transition: Transition, label: Tensor) -> EnergyFn:
        """The guided energy, y (b, ...) -> (b,), for labels (b,) with -1 = none."""

    @abstractmethod
    def mean(self, initializer: Initializer, x_t: Tensor, transition: Transition, label: Tensor) -> Tensor:
        """The guided proposal mean, shaped like x_t."""
