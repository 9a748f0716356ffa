"""The blocks of the energy networks.

Each has `freeze(embedding)`: all that doesn't depend on the image (normalized weights, gains, the
projections of the embedding), computed once; what comes back maps features to features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.layers.activations import Activation
from modules.layers.normalization import frozen_norm, norm
from modules.layers.spectral import conv2d, linear, snapshot

Stage = Callable[[Tensor], Tensor]


class Freezable(Protocol):
    """A layer that an energy network is made of."""

    def freeze(self, embedding: Tensor) -> Stage:
        """The layer given the embedding (b, embed_dim), its weights taken now."""


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
    ) -> None:
        super().__init__()
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

    def freeze(self, embedding: Tensor) -> Stage:
        """The block given e (b, embed_dim): (b, in, h, w) -> (b, out, h, w)."""
        act, norm1, norm2 = self.activation, frozen_norm(self.norm1), frozen_norm(self.norm2)
        time = F.linear(act(embedding), *snapshot(self.time))
        time = (act(time) if self.time_activation else time)[:, :, None, None]
        weight1, bias1 = snapshot(self.conv1)
        weight2, bias2 = snapshot(self.conv2)
        assert bias2 is not None
        # the gain comes after the bias: both are scaled
        weight2, bias2 = weight2 * self.gain[:, None, None, None], bias2 * self.gain
        shortcut = None if self.shortcut is None else snapshot(self.shortcut)
        half = 0 if self.shortcut is None else self.shortcut.kernel_size[0] // 2

        def evaluate(h: Tensor) -> Tensor:
            z = F.conv2d(act(norm1(h)), weight1, bias1, padding=1) + time
            z = F.conv2d(act(norm2(z)), weight2, bias2, padding=1)
            return z + (h if shortcut is None else F.conv2d(h, *shortcut, padding=half))

        return evaluate


class AverageDownsample(nn.Module):
    """Halves the resolution by 2x2 means."""

    def freeze(self, embedding: Tensor) -> Stage:
        """(b, c, h, w) -> (b, c, h/2, w/2)."""
        return lambda h: F.avg_pool2d(h, 2)


class ConvDownsample(nn.Module):
    """Halves the resolution by a 3x3 convolution of stride 2."""

    def __init__(self, channels: int, spectral: bool = True) -> None:
        super().__init__()
        self.conv = conv2d(channels, channels, stride=2, spectral=spectral)

    def freeze(self, embedding: Tensor) -> Stage:
        """(b, c, h, w) -> (b, c, h/2, w/2)."""
        weight, bias = snapshot(self.conv)
        return lambda h: F.conv2d(h, weight, bias, stride=2, padding=1)
