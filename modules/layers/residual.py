"""The blocks of the energy networks.

Each has `freeze(embedded, dtype)`: all that doesn't depend on the image (normalized weights, gains, the
projections of the embedding), computed once; what comes back maps features to features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.layers.activations import Activation
from modules.layers.embeddings import Embedded
from modules.layers.normalization import frozen_norm, norm
from modules.layers.spectral import conv2d, linear, snapshot
from modules.layers.stages import ConvStage, DenseStage, FunctionStage, HalveStage, Pull, Stage


class Freezable(Protocol):
    """A layer that an energy network is made of."""

    def freeze(self, embedded: Embedded, dtype: torch.dtype) -> Stage:
        """The layer given the embedding, its weights taken now, to compute in dtype."""


class ResidualBlock(nn.Module):
    """z = conv1(act(norm h)) + time(act(e)); z = conv2(act(norm z))·gain; h' = shortcut(h) + z (spec §7).

    Args:
        in_channels, out_channels: widths; where they differ the shortcut is a convolution, else h itself.
        embed_dim: numbers of the embedding e.
        activation: act.
        time_activation: time is act(dense(act(e))) as in CDRL, else dense(act(e)) as in DRL.
        spectral: spectral norm on every layer.
        bounded: conv2's norm never enlarges (DRL).
        shortcut_size: kernel size of the shortcut, 3 or 1.
        norm_name: "none", "group" or "instance".
        dropout: probability before conv2, in training, with a new mask at each evaluation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embed_dim: int,
        activation: Activation,
        time_activation: bool,
        spectral: bool = True,
        bounded: bool = False,
        shortcut_size: int = 3,
        norm_name: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.activation, self.time_activation = activation, time_activation
        self.norm1 = norm(type(self).__name__, norm_name, in_channels)
        self.norm2 = norm(type(self).__name__, norm_name, out_channels)
        self.conv1 = conv2d(in_channels, out_channels, spectral=spectral)
        self.conv2 = conv2d(out_channels, out_channels, spectral=spectral, bounded=bounded)
        self.gain = nn.Parameter(torch.ones(out_channels))
        self.time = linear(embed_dim, out_channels, spectral)
        self.shortcut = (
            conv2d(in_channels, out_channels, shortcut_size, spectral=spectral)
            if in_channels != out_channels
            else None
        )

    def freeze(self, embedded: Embedded, dtype: torch.dtype) -> Stage:
        """The block given e, in dtype: (b, in, h, w) -> (b, out, h, w)."""
        act = self.activation
        time = self.time(act(embedded.values))
        time = act(time) if self.time_activation else time
        weight1, bias1 = snapshot(self.conv1)
        assert bias1 is not None
        shared = len(time) == 1  # one level and label in all samples, as in sampling: a part of the bias
        if shared:
            bias1 = bias1 + time[0]
        weight2, bias2 = snapshot(self.conv2, gain=self.gain)
        assert bias2 is not None
        return _FrozenResidual(
            activation=act,
            norm1=frozen_norm(self.norm1, dtype),
            conv1=ConvStage(weight1.to(dtype), bias1.to(dtype)),
            time=None if shared else embedded.to_samples(time)[:, :, None, None].to(dtype),
            norm2=frozen_norm(self.norm2, dtype),
            conv2=ConvStage(weight2.to(dtype), bias2.to(dtype)),
            shortcut=None if self.shortcut is None else ConvStage(*snapshot(self.shortcut, dtype)),
            dropout=self.dropout if self.training else 0.0,
        )


@dataclass(frozen=True)
class _FrozenResidual(Stage):
    activation: Activation
    norm1: Callable[[Tensor], Tensor] | None
    conv1: ConvStage
    time: Tensor | None  # (b, out, 1, 1); None: in conv1's bias
    norm2: Callable[[Tensor], Tensor] | None
    conv2: ConvStage
    shortcut: ConvStage | HalveStage | None  # None: the features themselves
    dropout: float

    def halved(self) -> Stage | None:
        """Means of the sum are the sum of the means, each a part of what comes before."""
        conv2, shortcut = self.conv2.halved(), self.shortcut
        if conv2 is None or isinstance(shortcut, HalveStage):
            return None  # halved already
        return replace(self, conv2=conv2, shortcut=HalveStage() if shortcut is None else shortcut.halved())

    def prepare(self, pixels: int) -> None:
        for conv in (self.conv1, self.conv2, self.shortcut):
            if conv is not None:
                conv.prepare(pixels)

    def __call__(self, h: Tensor) -> Tensor:
        act = self.activation
        z = self._first(act(h if self.norm1 is None else self.norm1(h)))
        z = act.consume(z if self.norm2 is None else self.norm2(z))
        z = self.conv2(F.dropout(z, self.dropout) if self.dropout > 0 else z)
        return z.add_(h if self.shortcut is None else self.shortcut(h))

    def _first(self, a: Tensor) -> Tensor:
        z = self.conv1(a)
        return z if self.time is None else z.add_(self.time)

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        if self.norm1 is not None or self.norm2 is not None or self.dropout > 0:
            return super().linearize(h)
        act = self.activation
        a, kept_h = act.linearize(h)
        c, kept_z = act.linearize(self._first(a))
        out = self.conv2(c).add_(h if self.shortcut is None else self.shortcut(h))
        inner, outer = a.shape, c.shape

        def pull(g: Tensor) -> Tensor:
            d = act.backward(self.conv2.pull(g, outer), kept_z)
            d = act.backward(self.conv1.pull(d, inner), kept_h)
            return d.add_(g if self.shortcut is None else self.shortcut.pull(g, inner))

        return out, pull


class ResidualDenseBlock(nn.Module):
    """z = dense1(act(h)) + act(time(act(e))); z = dense2(act(z))·gain; h' = shortcut(h) + z.

    Args:
        width_in, width_out: where they differ the shortcut is a dense layer, else h itself.
        embed_dim: numbers of the embedding e.
        activation: act.
        spectral: spectral norm on every layer.
    """

    def __init__(
        self, width_in: int, width_out: int, embed_dim: int, activation: Activation, spectral: bool
    ) -> None:
        super().__init__()
        self.activation = activation
        self.dense1 = linear(width_in, width_out, spectral)
        self.dense2 = linear(width_out, width_out, spectral)
        self.gain = nn.Parameter(torch.ones(width_out))
        self.time = linear(embed_dim, width_out, spectral)
        self.shortcut = linear(width_in, width_out, spectral) if width_in != width_out else None

    def freeze(self, embedded: Embedded, dtype: torch.dtype) -> Stage:
        """The block given e, in dtype: (b, in) -> (b, out)."""
        act = self.activation
        weight1, bias1 = snapshot(self.dense1)
        weight2, bias2 = snapshot(self.dense2)
        assert bias1 is not None and bias2 is not None
        time = embedded.to_samples(act(self.time(act(embedded.values))) + bias1).to(dtype)
        first = DenseStage(weight1.to(dtype), None)
        # the gain comes after the bias: both are scaled
        second = DenseStage((weight2 * self.gain[:, None]).to(dtype), (bias2 * self.gain).to(dtype))
        shortcut = None if self.shortcut is None else DenseStage(*snapshot(self.shortcut, dtype))
        return FunctionStage(
            lambda h: second(act(first(act(h)) + time)) + (h if shortcut is None else shortcut(h))
        )


class AverageDownsample(nn.Module):
    """Halves the resolution by 2x2 means."""

    def freeze(self, embedded: Embedded, dtype: torch.dtype) -> Stage:
        """(b, c, h, w) -> (b, c, h/2, w/2)."""
        return HalveStage()


class ConvDownsample(nn.Module):
    """Halves the resolution by a 3x3 convolution of stride 2."""

    def __init__(self, channels: int, spectral: bool = True) -> None:
        super().__init__()
        self.conv = conv2d(channels, channels, stride=2, spectral=spectral)

    def freeze(self, embedded: Embedded, dtype: torch.dtype) -> Stage:
        """(b, c, h, w) -> (b, c, h/2, w/2)."""
        return ConvStage(*snapshot(self.conv, dtype), stride=2)
