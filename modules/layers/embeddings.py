"""Embeddings of the noise level and of the label (spec §7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.checks import ConfigurationError
from modules.layers.precision import full_precision
from modules.layers.spectral import linear


def logsnr_position(logsnr: Tensor) -> Tensor:
    """1000·u, u = atan(exp(-λ/2))·2/π in (0, 1), λ clamped to ±20: (b,) -> (b,)."""
    return 1000.0 * torch.atan(torch.exp(-0.5 * logsnr.clamp(-20.0, 20.0))) * (2.0 / math.pi)


def level_position(logsnr: Tensor, waves: float) -> tuple[Tensor, float]:
    """waves·(λ + 10)/20, λ clamped to ±20, and its derivative in λ: equal waves at all levels, (b,) -> (b,).

    In `logsnr_position` levels near data lie together, as do those near noise: nothing changes with λ there.
    """
    return (waves / 20.0) * (logsnr.clamp(-20.0, 20.0) + 10.0), waves / 20.0


def sinusoid(position: Tensor, dim: int) -> Tensor:
    """sin, then cos of position · 10000^(-i/(half-1)), i = 0..half-1, half = dim // 2: (b,) -> (b, dim)."""
    half = dim // 2
    index = torch.arange(half, device=position.device, dtype=position.dtype)
    angle = position[:, None] * torch.exp(index * (-math.log(10000.0) / (half - 1)))
    return F.pad(torch.cat([angle.sin(), angle.cos()], 1), (0, dim % 2))


def sinusoid_slope(position: Tensor, dim: int) -> Tensor:
    """The derivative of `sinusoid` in the position: (b,) -> (b, dim)."""
    half = dim // 2
    sin, cos = sinusoid(position, dim)[:, : 2 * half].chunk(2, 1)
    index = torch.arange(half, device=position.device, dtype=position.dtype)
    frequency = torch.exp(index * (-math.log(10000.0) / (half - 1)))
    return F.pad(torch.cat([frequency * cos, -frequency * sin], 1), (0, dim % 2))


def one_hot_label(label: Tensor | None, num_classes: int, like: Tensor) -> Tensor:
    """One-hot (b, num_classes + 1) of label + 1, so that column 0 is "none" (label -1, or no labels).

    Args:
        label: (b,) int64 in -1..num_classes-1, or None: no label for any sample.
        like: its batch size, device and dtype are taken.
    """
    columns = torch.arange(num_classes + 1, device=like.device)
    index = columns.new_zeros(like.shape[0]) if label is None else label + 1
    return (index[:, None] == columns).to(like.dtype)


def check_no_label(network: nn.Module, label: Tensor | None) -> None:
    """Raise where a sample has a label and the network has none.

    Raises:
        ConfigurationError: a label above -1.
    """
    if label is not None and bool((label >= 0).any()):
        raise ConfigurationError(
            f"{type(network).__name__} was built with num_classes=0 and got labels:"
            " give num_classes, or leave the labels out"
        )


@dataclass(frozen=True)
class Embedded:
    """The embeddings (n, d) of the distinct (level, label) pairs of a batch, and the pair of each sample.

    A batch has a few levels: what depends on them alone is computed for those, then handed to the samples.
    """

    values: Tensor
    index: Tensor | None  # (b,) into the n rows; None: a row for each sample

    def to_samples(self, projected: Tensor) -> Tensor:
        """(n, ...) -> (b, ...)."""
        return projected if self.index is None else projected.index_select(0, self.index)


class LevelEmbedding(nn.Module):
    """dense(act(dense(sinusoid(position)))) + dense(one-hot label): (b,) -> (b, out_dim).

    Args:
        dim: numbers of the sinusoid, at least 4.
        out_dim: numbers of the embedding.
        num_classes: 0 for none.
        activation: between the two dense layers.
        spectral: spectral norm on all three.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        num_classes: int,
        activation: Callable[[Tensor], Tensor],
        spectral: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.num_classes, self.activation = dim, num_classes, activation
        self.dense1 = linear(dim, out_dim, spectral)
        self.dense2 = linear(out_dim, out_dim, spectral)
        self.label = linear(num_classes + 1, out_dim, spectral) if num_classes else None

    def forward(self, position: Tensor, label: Tensor | None = None) -> Tensor:
        """The embedding (b, out_dim) of position (b,) and label (b,), in the parameters' precision."""
        with full_precision(position):
            e = sinusoid(position, self.dim).to(self.dense1.weight.dtype)
            e = self.activation(self.dense1(e))
            e = self.dense2(e)
            if self.label is not None:
                e = e + self.label(one_hot_label(label, self.num_classes, e))
        return e

    def with_tangent(self, position: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The embedding (b, out_dim) and its derivative in the position; silu between the dense layers."""
        with full_precision(position):
            wave, moved = sinusoid(position, self.dim), sinusoid_slope(position, self.dim)
            wave, moved = (v.to(self.dense1.weight.dtype) for v in (wave, moved))
            e = self.dense1(wave)
            s = torch.sigmoid(e)
            tangent = F.linear(moved, self.dense1.weight) * (s * (1 + e * (1 - s)))
            tangent = F.linear(tangent, self.dense2.weight)
            e = self.dense2(e * s)
            if self.label is not None:
                e = e + self.label(one_hot_label(label, self.num_classes, e))
        return e, tangent

    def distinct(self, position: Tensor, label: Tensor | None = None) -> Embedded:
        """The embedding of each (level, label) pair that occurs. On a CPU: elsewhere, to ask would wait.

        Nor in a compiled graph, whose shapes may not depend on numbers, nor where each sample's derivative in
        its own level is wanted.
        """
        if position.device.type != "cpu" or torch.compiler.is_compiling() or position.requires_grad:
            return Embedded(self(position, label), None)
        _, index = torch.unique(position, return_inverse=True)
        if label is not None and self.label is not None:
            _, index = torch.unique(index * (self.num_classes + 1) + label + 1, return_inverse=True)
        rows = index.new_empty(int(index.max()) + 1).scatter_(0, index, torch.arange(len(index)))
        return Embedded(self(position[rows], None if label is None else label[rows]), index)
