"""No initializer: the chain starts at x_t, as in DRL."""

from __future__ import annotations

import gin
from torch import Tensor

from modules.core.types import NoiseSource, Transition
from modules.initializers.base import Initializer


@gin.register
class CopyInitializer(Initializer):
    """g = x_t: what makes CDRL into DRL. No parameters; any label is ignored.

    Args:
        shape, num_classes: as Initializer's.
    """

    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """x_t itself."""
        return x_t

    def propose(self, mean: Tensor, transition: Transition, noise: NoiseSource) -> Tensor:
        """The mean: DRL's chain starts at x_t itself, without noise."""
        return mean
