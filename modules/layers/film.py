"""Blocks whose features are scaled and shifted by the embedding (FiLM, arXiv 1709.07871)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.layers.activations import Activation
from modules.layers.embeddings import Embedded
from modules.layers.normalization import group_norm
from modules.layers.spectral import linear, snapshot
from modules.layers.stages import DenseStage, FunctionStage, Pull, Stage


def upsample(h: Tensor) -> Tensor:
    """Doubles the resolution, nearest neighbour."""
    return F.interpolate(h, scale_factor=2.0, mode="nearest")


def downsample(h: Tensor) -> Tensor:
    """Halves the resolution by 2x2 means."""
    return F.avg_pool2d(h, 2)


class FilmConvBlock(nn.Module):
    """z = conv1(R silu(norm1 h)); z = norm2(z)(1 + scale) + shift; h' = shortcut(R h) + conv2(silu(z)).

    scale and shift are a dense layer of silu(embedding); R resamples or does nothing (spec §7). conv2 starts
    at zero, so that the block starts as its shortcut.

    Args:
        owner: the network's argument that an error about `groups` names.
        in_channels, out_channels: widths.
        embed_dim: numbers of the embedding.
        groups: of both GroupNorms.
        dropout: probability, before conv2.
        resample: R.
    """

    def __init__(
        self,
        owner: str,
        in_channels: int,
        out_channels: int,
        embed_dim: int,
        groups: int,
        dropout: float,
        resample: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.resample, self.dropout = resample, dropout
        self.norm1 = group_norm(owner, groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.film = nn.Linear(embed_dim, 2 * out_channels)
        self.norm2 = group_norm(owner, groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """(b, in, h, w), (b, embed_dim) -> (b, out, h', w')."""
        z = F.silu(self.norm1(h))
        if self.resample is not None:
            h, z = self.resample(h), self.resample(z)
        scale, shift = self.film(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
        z = self.norm2(self.conv1(z)) * (1 + scale) + shift
        z = self.conv2(F.dropout(F.silu(z), self.dropout, self.training))
        return z + (h if self.shortcut is None else self.shortcut(h))


class FilmDenseBlock(nn.Module):
    """h' = h + dense2(act(dense1(act(h))(1 + scale) + shift)), scale and shift dense in act(embedding).

    Args:
        width: numbers of h and of what lies between.
        embed_dim: numbers of the embedding.
        activation: act.
        spectral: spectral norm on the three dense layers.
    """

    def __init__(self, width: int, embed_dim: int, activation: Activation, spectral: bool = False) -> None:
        super().__init__()
        self.activation = activation
        self.dense1 = linear(width, width, spectral)
        self.film = linear(embed_dim, 2 * width, spectral)
        self.dense2 = linear(width, width, spectral)

    def freeze(self, embedded: Embedded, dtype: torch.dtype) -> Stage:
        """The block given the embedding, in dtype: (b, width) -> (b, width)."""
        film = self.film(self.activation(embedded.values))
        scale, shift = film.chunk(2, dim=1)
        scale = 1 + scale
        weight1, bias1 = snapshot(self.dense1)
        assert bias1 is not None
        return _FrozenDenseBlock(
            activation=self.activation,
            dense1=DenseStage(weight1.to(dtype), None),
            scale=embedded.to_samples(scale).to(dtype),
            shift=embedded.to_samples(shift + scale * bias1).to(dtype),
            dense2=DenseStage(*snapshot(self.dense2, dtype)),
        )


class NormalizedFilmDenseBlock(nn.Module):
    """FilmConvBlock's equation with dense layers, as in CDRL's published toy; without dropout or resampling.

    Args:
        owner: the network's argument that an error about `groups` names.
        width: numbers of h and of what lies between.
        embed_dim: numbers of the embedding.
        activation: act.
        groups: of both GroupNorms.
    """

    def __init__(self, owner: str, width: int, embed_dim: int, activation: Activation, groups: int) -> None:
        super().__init__()
        self.activation = activation
        self.norm1 = group_norm(owner, groups, width)
        self.dense1 = nn.Linear(width, width)
        self.film = nn.Linear(embed_dim, 2 * width)
        self.norm2 = group_norm(owner, groups, width)
        self.dense2 = nn.Linear(width, width)
        nn.init.zeros_(self.dense2.weight)
        nn.init.zeros_(self.dense2.bias)

    def freeze(self, embedded: Embedded, dtype: torch.dtype) -> Stage:
        """The block given the embedding: (b, width) -> (b, width)."""
        act = self.activation
        scale, shift = embedded.to_samples(self.film(act(embedded.values))).chunk(2, dim=1)

        def evaluate(h: Tensor) -> Tensor:
            z = self.norm2(self.dense1(act(self.norm1(h)))) * (1 + scale) + shift
            return h + self.dense2(act(z))

        return FunctionStage(evaluate)


@dataclass(frozen=True)
class _FrozenDenseBlock(Stage):
    activation: Activation
    dense1: DenseStage
    scale: Tensor
    shift: Tensor
    dense2: DenseStage

    def __call__(self, h: Tensor) -> Tensor:
        act = self.activation
        z = torch.addcmul(self.shift, self.dense1(act(h)), self.scale)
        return h + self.dense2(act.consume(z))

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        act = self.activation
        a, kept_h = act.linearize(h)
        z = torch.addcmul(self.shift, self.dense1(a), self.scale)
        c, kept_z = act.linearize(z)

        def pull(g: Tensor) -> Tensor:
            d = act.backward(self.dense2.pull(g), kept_z).mul_(self.scale)
            return act.backward(self.dense1.pull(d), kept_h).add_(g)

        return self.dense2(c).add_(h), pull
