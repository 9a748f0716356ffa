"""Layers with all but the image bound: maps of features that also give their own gradient.

Along a chain the gradient in y is all that is wanted. `linearize` computes it without an autograd graph:
activations are overwritten where the derivative allows, and no parameter is looked at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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
    """A convolution with its weight (out, in, k, k) and bias."""

    weight: Tensor
    bias: Tensor | None
    stride: int = 1

    def __call__(self, h: Tensor) -> Tensor:
        return F.conv2d(h, self.weight, self.bias, self.stride, self.weight.shape[-1] // 2)

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        shape = h.shape
        return self(h), lambda g: self.pull(g, shape)

    def pull(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The gradient in an input of `shape`."""
        padding = self.weight.shape[-1] // 2
        if self.stride == 1:
            return F.conv2d(g, self.mirrored, None, 1, padding)
        return conv2d_input(shape, self.weight, g, self.stride, padding)

    @cached_property
    def mirrored(self) -> Tensor:
        """The weight (in, out, k, k) of the convolution that is the transposed derivative at stride 1.

        Once a chain: a convolution's gradient as torch has it turns the weight round at every call.
        """
        mirrored = self.weight.flip(2, 3).transpose(0, 1)
        rows = self.weight.is_contiguous()
        return mirrored.contiguous(memory_format=torch.contiguous_format if rows else torch.channels_last)


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
