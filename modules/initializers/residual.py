"""Initializers made of a network from images to images: the role adds x_t and reads λ_t."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import gin
from torch import Tensor, nn

from modules.core.checks import check_instance
from modules.core.types import Transition
from modules.initializers.base import Initializer
from modules.layers import backbone
from modules.layers.embeddings import check_no_label


class ResidualInitializer(Initializer):
    """g = x_t + net(x_t, λ_t[, label]) (spec §4), net best zero at its start."""

    @abstractmethod
    def network(self, x: Tensor, logsnr: Tensor, label: Tensor | None) -> Tensor:
        """net, shaped like x (b, *shape), at λ (b,) and labels (b,) or None."""

    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """g, shaped like x_t (b, *shape)."""
        if not self.num_classes:
            check_no_label(self, label)
        return x_t + self.network(x_t, transition.logsnr_t, label)


@gin.register
class NetworkInitializer(ResidualInitializer):
    """ResidualInitializer of any network of the user's own; NetworkEnergy takes the same ones.

    Args:
        network: called as network(x, logsnr) or, with classes, network(x, logsnr, label): (b, *shape),
            (b,), (b,) int64 with -1 = none. Its last layer had better start at zero.
        shape, num_classes, proposal_noise: see Initializer.
    """

    kept_as: ClassVar[dict[str, str]] = {"network": "net"}

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        num_classes: int = 0,
        proposal_noise: bool = True,
    ) -> None:
        super().__init__(shape, num_classes, proposal_noise)
        check_instance("NetworkInitializer.network", network, nn.Module)
        self.net = network

    def network(self, x: Tensor, logsnr: Tensor, label: Tensor | None) -> Tensor:
        """The user's network."""
        return backbone.evaluate(self.net, x, logsnr, label, self.num_classes)
