"""Energies that compute ahead all that doesn't depend on y."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from modules.core.tensors import sum_per_sample
from modules.core.types import EnergyFn, Transition
from modules.energies.base import Energy
from modules.layers.activations import Activation
from modules.layers.embeddings import check_no_label
from modules.layers.stages import Stage


class FrozenEnergy:
    """E(y) = -<sum over pixels of final(stages(y)), head> [+ ½||y||²], with all but y computed ahead.

    Args:
        stages: y -> features (b, c) or (b, c, h, w), in turn.
        final: the last activation.
        head: (b, c).
        dtype: the stages'; y is cast to it under mixed precision only.
        channels_last: the stages' memory format.
        quadratic: whether ½||y||² is added.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        final: Activation,
        head: Tensor,
        dtype: torch.dtype,
        channels_last: bool = False,
        quadratic: bool = False,
    ) -> None:
        self.stages, self.final, self.slope = list(stages), final, -head  # of E in the features
        self.dtype, self.format = dtype, torch.channels_last if channels_last else torch.preserve_format
        self.quadratic = quadratic

    def _enter(self, y: Tensor) -> Tensor:
        dtype = self.dtype if self.dtype == torch.bfloat16 else y.dtype
        return y.to(dtype, memory_format=self.format)

    def _read(self, features: Tensor, y: Tensor) -> Tensor:
        # summed in the head's precision, whatever that of the stages
        pixels = tuple(range(2, features.ndim))
        dtype = self.slope.dtype
        pooled = features.sum(pixels, dtype=dtype) if pixels else features.to(dtype)
        energy = (pooled * self.slope).sum(1)
        return energy + 0.5 * sum_per_sample(y.to(dtype) ** 2) if self.quadratic else energy

    def __call__(self, y: Tensor) -> Tensor:
        """E (b,), differentiable."""
        h = self._enter(y)
        for stage in self.stages:
            h = stage(h)
        return self._read(self.final(h), y)

    @torch.no_grad()
    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """E (b,) and ∇E, shaped like y, without an autograd graph."""
        h, pulls = self._enter(y), []
        for stage in self.stages:
            h, pull = stage.linearize(h)
            pulls.append(pull)
        out, kept = self.final.linearize(h)
        slope = self.slope.reshape(*self.slope.shape, *([1] * (h.ndim - 2)))
        g = self.final.backward(torch.empty_like(h).copy_(slope), kept)
        for pull in reversed(pulls):
            g = pull(g)
        g = g.to(y.dtype)
        return self._read(out, y), g + y if self.quadratic else g


class FreezableEnergy(Energy):
    """An energy E(y) = freeze(transition, label)(y): training and chains share one snapshot.

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
