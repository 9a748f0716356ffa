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

    def halved(self) -> Stage | None:
        """This stage and the means of 2x2 pixels of its output as one, where that is less work; else None."""
        return None

    def prepare(self, pixels: int) -> None:
        """Compute ahead what pays in a chain of few steps, given the pixels of all samples together."""
        return


@dataclass(frozen=True)
class FunctionStage(Stage):
    """Any function of features as a stage."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, h: Tensor) -> Tensor:
        return self.function(h)


PIXELS = 2048
"""Of all samples together, from which on turned kernels pay within a step or two.

Making them costs by their weights alone, and what a step gains grows with the pixels: 190 ms and nothing at
paper size and batch 2, 8% of a step of small networks at batch 32 (docs/speed.md).
"""


@dataclass
class ConvStage(Stage):
    """A convolution with its weight (out, in, k, k) and bias, padded to keep the size, or to halve it.

    At stride 1 its transposed derivative is the convolution with `mirrored` (in, out, k, k), which `prepare`
    turns round ahead where that pays.
    """

    weight: Tensor
    bias: Tensor | None
    stride: int = 1
    mirrored: Tensor | None = field(init=False, default=None)

    @property
    def padding(self) -> int:
        """Of 3 and 4 taps 1, of 1 and 2 none."""
        return (self.weight.shape[-1] - 1) // 2

    def __call__(self, h: Tensor) -> Tensor:
        return F.conv2d(h, self.weight, self.bias, self.stride, self.padding)

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        shape = h.shape
        return self(h), lambda g: self.pull(g, shape)

    def pull(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The gradient in an input of `shape`."""
        if self.mirrored is not None:
            return F.conv2d(g, self.mirrored, None, 1, self.padding)
        return conv2d_input(shape, self.weight, g, self.stride, self.padding)

    def prepare(self, pixels: int) -> None:
        """As Stage's; pixels of the input."""
        if self.stride == 1 and pixels >= PIXELS:
            self.mirrored = _mirrored(self.weight)

    def halved(self) -> ConvStage | None:
        """One convolution of stride 2 with a tap more on a side: for 3x3 and means of 2x2, 16 taps for 36."""
        return ConvStage(_averaged(self.weight), self.bias, 2) if self.stride == 1 else None


def _mirrored(weight: Tensor) -> Tensor:
    """Kernels (out, in, k, k) turned round, (in, out, k, k), in the same memory format.

    Tap by tap, each a transposed matrix: half the time of turning all, then copying with strides.
    """
    out_channels, in_channels, size, _ = weight.shape
    rows = torch.contiguous_format if weight.is_contiguous() else torch.channels_last
    shape = (in_channels, out_channels, size, size)
    turned = torch.empty(shape, dtype=weight.dtype, device=weight.device, memory_format=rows)
    for i in range(size):
        for j in range(size):
            turned[:, :, size - 1 - i, size - 1 - j] = weight[:, :, i, j].T
    return turned


def _averaged(weight: Tensor) -> Tensor:
    """Kernels (out, in, k, k) followed by means of 2x2 pixels, (out, in, k + 1, k + 1); keeps the format."""
    last = not weight.is_contiguous()
    taps = weight.permute(0, 2, 3, 1) if last else weight  # as they lie in memory
    across, down = ((0, 0, 0, 1), (0, 0, 0, 0, 0, 1)) if last else ((0, 1), (0, 0, 0, 1))
    for before in (across, down):
        after = (*before[:-2], 1, 0)
        taps = F.pad(taps, after).add_(F.pad(taps, before))
    taps = taps * 0.25
    return taps.permute(0, 3, 1, 2) if last else taps


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
        shape = h.shape
        return self(h), lambda g: self.pull(g, shape)

    def pull(self, g: Tensor, shape: torch.Size) -> Tensor:
        """The gradient in an input of `shape`; overwrites g."""
        return F.interpolate(g.mul_(0.25), shape[2:], mode="nearest")
