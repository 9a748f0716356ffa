"""What a training method is: the networks, and a training step up to the losses."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from modules.types import Batch, LossOutput, NoiseSource


class Method(nn.Module, ABC):
    """A module over the networks whose forward is the training step up to the losses."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The networks that are trained, by the names that losses and optimizers use."""

    @abstractmethod
    def begin_step(self, step: int) -> None:
        """Prepare optimizer step `step` (0, 1, ...): what all its micro-batches share."""

    @abstractmethod
    def forward(self, batch: Batch, noise: NoiseSource) -> LossOutput:
        """The losses of one micro-batch, one scalar per network that learns from it."""
