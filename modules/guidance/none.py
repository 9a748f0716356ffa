"""No guidance: the networks as they are."""

from __future__ import annotations

import gin
from torch import Tensor

from modules.core.types import EnergyFn, Transition
from modules.energies.base import Energy
from modules.guidance.base import Guidance
from modules.initializers.base import Initializer


@gin.register
class NoGuidance(Guidance):
    """The networks as they are, with each sample's own label."""

    def energy(self, energy: Energy, transition: Transition, label: Tensor) -> EnergyFn:
        return energy.at(transition, label)

    def mean(self, initializer: Initializer, x_t: Tensor, transition: Transition, label: Tensor) -> Tensor:
        return initializer.mean(x_t, transition, label)
