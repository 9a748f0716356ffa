"""Energies that compute ahead all that doesn't depend on y."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from modules.energies.base import Energy
from modules.layers.embeddings import check_no_label
from modules.types import EnergyFn, Transition


class FreezableEnergy(Energy):
    """An energy E(y) = freeze(transition, label)(y): training and chains take one path.

    Normalized weights and projections of the embedding are made in `freeze`; along a chain of K steps that
    is done once instead of K times, and no step carries gradients of parameters.
    """

    @abstractmethod
    def freeze(self, transition: Transition, label: Tensor | None) -> EnergyFn:
        """y -> E(y) with all that is constant in y computed; differentiable in the parameters if they are."""

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E (b,), with gradients in y and the parameters."""
        if not self.num_classes:
            check_no_label(self, label)
        return self.freeze(transition, label)(y)

    def at(self, transition: Transition, label: Tensor | None = None) -> EnergyFn:
        """y -> E(y) of the parameters as they are now: a snapshot without gradients of parameters."""
        if not self.num_classes:
            check_no_label(self, label)
        with torch.no_grad():
            return self.freeze(transition, label)
