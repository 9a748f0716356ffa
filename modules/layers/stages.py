"""Layers with all but the image bound: maps of features that also give their own gradient.

Along a chain the gradient in y is all that is wanted. `linearize` computes it without an autograd graph:
activations are overwritten where the derivative allows, and no parameter is looked at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

Pull = Callable[[Tensor], Tensor]
"""The transposed derivative: gradient in the output -> gradient in the input; may overwrite what it gets."""


class Stage(ABC):
    """Features (b, c, ...) -> features, one sample at a time."""

    @abstractmethod
    def __call__(self, h: Tensor) -> Tensor:
        """The output, differentiable by autograd to any order that its operations are."""

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        """The output at h, which stays as it is, and its Pull; both without a graph.

        This one asks autograd, for a stage whose derivative nobody has written out.
        """
        with torch.enable_grad():
            h = h.detach().requires_grad_()
            out = self(h)
        return out.detach(), lambda g: torch.autograd.grad(out, h, g)[0]


@dataclass(frozen=True)
class FunctionStage(Stage):
    """Any function of features as a stage."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, h: Tensor) -> Tensor:
        return self.function(h)


@dataclass(frozen=True)
class ConvStage(Stage):
    """A convolution with its weight (out, in, k, k) and bias.

    At stride 1 its transposed derivative is the convolution with `mirrored` (in, out, k, k), which a snapshot
    without gradients turns round ahead: torch's own gradient of a convolution does so at every call.
    """

    weight: Tensor
    bias: Tensor | None
    stride: int = 1
    mirrored: Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.stride == 1 and not torch.is_grad_enabled():
            object.__setattr__(self, "mirrored", _mirrored(self.weight))

    def __call__(self, h: Tensor) -> Tensor:
        return F.conv2d(h, self.weight, self.bias, self.stride, self.weight.shape[-1] // 2)

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        shape = h.shape
        return self(h), lambda g: self.pull(g, shape)

    def pull(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The gradient in an input of `shape`."""
        padding = self.weight.shape[-1] // 2
        if self.stride == 1:
            mirrored = _mirrored(self.weight) if self.mirrored is None else self.mirrored
            return F.conv2d(g, mirrored, None, 1, padding)
        return conv2d_input(shape, self.weight, g, self.stride, padding)


def _mirrored(weight: Tensor) -> Tensor:
    """Kernels (out, in, k, k) turned round, (in, out, k, k), in the same memory format."""
    rows = weight.is_contiguous()
    turned = weight.flip(2, 3).transpose(0, 1)
    return turned.contiguous(memory_format=torch.contiguous_format if rows else torch.channels_last)


@dataclass(frozen=True)
class DenseStage(Stage):
    """A dense layer with its weight (out, in) and bias."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight, self.bias)

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        return self(h), self.pull

    def pull(self, g: Tensor) -> Tensor:
        """The gradient in the input."""
        return g @ self.weight


class HalveStage(Stage):
    """Means of 2x2 pixels."""

    def __call__(self, h: Tensor) -> Tensor:
        return F.avg_pool2d(h, 2)

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        return self(h), lambda g: F.interpolate(g.mul_(0.25), scale_factor=2.0, mode="nearest")
