"""A U-Net from an image, a level and a label to an image: the network inside initializers and energies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.layers.attention import SelfAttention
from modules.layers.embeddings import LevelEmbedding
from modules.layers.film import FilmConvBlock, downsample, upsample
from modules.layers.linearized import convolve, convolve_doubled, double, halve, normalize_film_silu
from modules.layers.normalization import group_norm, group_norm_as_film
from modules.layers.stages import Pull


class UNetStage(nn.Module):
    """A block and, where the resolution has it, an attention."""

    def __init__(self, block: FilmConvBlock, attention: SelfAttention | None = None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        h = self.block(h, embedding)
        return h if self.attention is None else self.attention(h)


class UNetLayers(nn.Module):
    """net(x, position[, label]): a U-Net with FiLM conditioning that starts at zero (spec §7).

    Each output of the way down (the first convolution, each block, each downsampling) is concatenated to
    the input of a block of the way up, last first.

    `build` makes them, in a module that is these layers alone or a network of its own.
    """

    def build(
        self,
        owner: str,
        shape: tuple[int, ...],
        num_classes: int,
        dim: int,
        dim_mults: Sequence[int],
        num_blocks: int,
        attention_resolutions: Sequence[int],
        dropout: float,
        groups: int,
        num_heads: int,
    ) -> None:
        """Make the layers.

        Args:
            owner: the class that errors name.
            shape: (channels, height, width), both sides divisible by 2^(levels-1).
            num_classes: labels 0..num_classes-1; 0: unconditional.
            dim: width unit; numbers of the sinusoid; the embedding has 4 times as many. 64 in the paper.
            dim_mults: width of each level over dim.
            num_blocks: blocks a level on the way down, one more on the way up. In the paper 3 or 2.
            attention_resolutions: heights of the feature maps with self-attention; the middle always has one.
            dropout: probability, before the second convolution of a block.
            groups: of the GroupNorms; must divide the widths.
            num_heads: of every attention; must divide its width. One in the paper.

        Raises:
            ConfigurationError: sizes that don't fit, named.
        """
        if len(shape) != 3:
            raise ConfigurationError(f"{owner}.shape must be (channels, height, width), got {shape!r}")
        check_integer(f"{owner}.dim", dim, low=4)
        check_integer(f"{owner}.num_blocks", num_blocks, low=1, high=1000)
        check_integer(f"{owner}.groups", groups, low=1)
        check_integer(f"{owner}.num_heads", num_heads, low=1)
        check_number(f"{owner}.dropout", dropout, low=0.0, high=1.0)
        for name, values in (("dim_mults", dim_mults), ("attention_resolutions", attention_resolutions)):
            if not isinstance(values, (tuple, list)):
                raise ConfigurationError(f"{owner}.{name} must be a list of integers, got {values!r}")
            for value in values:
                check_integer(f"{owner}.{name}'s entries", value, low=1)
        if not dim_mults:
            raise ConfigurationError(f"{owner}.dim_mults must have an entry a level, got {dim_mults!r}")
        factor = 2 ** (len(dim_mults) - 1)
        if shape[1] % factor or shape[2] % factor:
            raise ConfigurationError(
                f"{owner}.dim_mults halves {shape[1]}x{shape[2]} pixels {len(dim_mults) - 1} times:"
                f" resize to a multiple of {factor} or give fewer entries"
            )
        embed_dim, divided = 4 * dim, f"{owner}.groups"

        def attention(width: int) -> SelfAttention:
            if width % num_heads:
                raise ConfigurationError(
                    f"{owner}.num_heads {num_heads} must divide an attention's width {width}"
                )
            return SelfAttention(width, group_norm(divided, groups, width), num_heads)

        def block(
            width_in: int, width: int, resample: Callable[[Tensor], Tensor] | None = None
        ) -> FilmConvBlock:
            return FilmConvBlock(divided, width_in, width, embed_dim, groups, dropout, resample)

        def stage(width_in: int, width: int) -> UNetStage:
            return UNetStage(
                block(width_in, width), attention(width) if resolution in attention_resolutions else None
            )

        self.embedding = LevelEmbedding(dim, embed_dim, num_classes, F.silu)
        self.stem = nn.Conv2d(shape[0], dim, 3, padding=1)
        widths = [dim * m for m in dim_mults]
        width, resolution, skips = dim, shape[1], [dim]
        self.down = nn.ModuleList()
        for level, out in enumerate(widths):
            if level:
                self.down.append(UNetStage(block(width, width, downsample)))
                resolution //= 2
                skips.append(width)
            for _ in range(num_blocks):
                self.down.append(stage(width, out))
                width = out
                skips.append(width)

        self.middle1, self.middle2 = UNetStage(block(width, width), attention(width)), block(width, width)

        self.up = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(num_blocks + 1):
                self.up.append(stage(width + skips.pop(), out))
                width = out
            if level:
                self.up.append(UNetStage(block(width, width, upsample)))
                resolution *= 2

        self.norm = group_norm(divided, groups, width)
        self.head = nn.Conv2d(width, shape[0], 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def stages(self) -> list[UNetStage]:
        """All stages in the order of evaluation."""
        middle = [self.middle1, UNetStage(self.middle2)]
        return [s for s in (*self.down, *middle, *self.up) if isinstance(s, UNetStage)]

    def evaluate(self, x: Tensor, embedding: Tensor) -> Tensor:
        """net: an image shaped like x (b, channels, height, width), embedding (b, 4·dim)."""
        h = self.stem(x)
        skips = [h]
        for stage in self.down:
            h = stage(h, embedding)
            skips.append(h)
        h = self.middle2(self.middle1(h, embedding), embedding)
        for stage in self.up:
            assert isinstance(stage, UNetStage)
            if stage.block.resample is None:
                h = torch.cat([h, skips.pop()], 1)
            h = stage(h, embedding)
        return self.head(F.silu(self.norm(h)))

    def freeze(self, embedding: Tensor, tangent: Tensor | None = None) -> LinearizedUNet:
        """The network given embeddings (b, 4·dim) and, if wanted, their derivatives in the level."""
        stages = self.stages()
        films = [stage.block.film for stage in stages]
        # one product for all blocks: as many small ones would cost more than their arithmetic
        weight = torch.cat([film.weight for film in films])
        bias = torch.cat([film.bias for film in films])
        sizes = [film.out_features for film in films]
        s = torch.sigmoid(embedding)
        film = F.linear(embedding * s, weight, bias).split(sizes, 1)
        moved: Sequence[Tensor | None] = [None] * len(films)
        if tangent is not None:
            slope = s * (1 + embedding * (1 - s))
            moved = F.linear(tangent * slope, weight).split(sizes, 1)
        return LinearizedUNet(self, stages, list(film), list(moved))


@dataclass(frozen=True)
class LinearizedUNet:
    """A U-Net at given levels and labels: x -> net(x), with its transposed derivative written out.

    Args:
        layers: whose weights are used as they are when called.
        stages: all of them, in turn; film: (b, 2·width) scale and shift of each.
        moved: the derivatives of `film` in the level, or None.
    """

    layers: UNetLayers
    stages: list[UNetStage]
    film: list[Tensor]
    moved: list[Tensor | None]

    def linearize(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor | None]]]:
        """net(x) and its pull: a gradient in it -> the gradients in x and in the level (b,), if wanted."""
        layers = self.layers
        h, pull_stem = convolve(x, layers.stem.weight, layers.stem.bias)
        skips, pulls, joined = [h], [], []
        down = len(layers.down)
        for i, stage in enumerate(self.stages):
            joins = i >= down + 2 and stage.block.resample is None
            joined.append(h.shape[1] if joins else None)
            if joins:
                h = torch.cat([h, skips.pop()], 1)
            h, pull = _stage(stage, h, self.film[i], self.moved[i])
            pulls.append(pull)
            if i < down:
                skips.append(h)
        batch = h.shape[0]
        a, pull_norm = normalize_film_silu(h, *group_norm_as_film(layers.norm, batch))
        out, pull_head = convolve(a, layers.head.weight, layers.head.bias)

        def pull_all(g: Tensor) -> tuple[Tensor, Tensor | None]:
            g = pull_norm(pull_head(g))[0]
            waiting: list[Tensor] = []  # gradients of the skips, the first connection's first
            slopes: list[Tensor] = []
            for i in reversed(range(len(pulls))):
                if i < down:
                    g = g + waiting.pop()
                g, slope = pulls[i](g)
                if slope is not None:
                    slopes.append(slope)
                width = joined[i]
                if width is not None:
                    g, skip = g.split([width, g.shape[1] - width], 1)  # slices would go back as padded zeros
                    waiting.append(skip)
            g = pull_stem(g + waiting.pop())
            return g, torch.stack(slopes).sum(0) if slopes else None

        return out, pull_all


def _stage(
    stage: UNetStage, h: Tensor, film: Tensor, moved: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor | None]]]:
    """The stage's output, and its pull, which also gives the gradient in the level (b,)."""
    h, pull_block = _block(stage.block, h, film, moved)
    if stage.attention is None:
        return h, pull_block
    out, pull_attention = stage.attention.linearize(h)
    return out, lambda g: pull_block(pull_attention(g))


def _block(
    block: FilmConvBlock, h: Tensor, film: Tensor, moved: Tensor | None
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor | None]]]:
    """FilmConvBlock with its pull."""
    gamma, beta = block.norm2.weight, block.norm2.bias
    scale, shift = film.chunk(2, 1)
    z, pull_norm1 = normalize_film_silu(h, *group_norm_as_film(block.norm1, h.shape[0]))
    assert block.resample in (None, downsample, upsample), "its pull isn't written out"
    pull_z: Pull | None = None
    pull_h: Pull | None = None
    if block.resample is upsample:
        h, pull_h = double(h)
        z, pull_conv1 = convolve_doubled(z, block.conv1.weight, block.conv1.bias)
    else:
        if block.resample is downsample:
            (z, pull_z), (h, pull_h) = halve(z), halve(h)
        z, pull_conv1 = convolve(z, block.conv1.weight, block.conv1.bias)
    z, pull_norm2 = normalize_film_silu(
        z, block.norm2.num_groups, block.norm2.eps, gamma * (1 + scale), beta * (1 + scale) + shift
    )
    kept: Tensor | None = None  # dropout's mask, the same on the way back
    if block.dropout > 0 and block.training and torch.is_grad_enabled():  # chains are without
        kept = F.dropout(torch.ones_like(z), block.dropout)
        z = z * kept
    z, pull_conv2 = convolve(z, block.conv2.weight, block.conv2.bias)
    pull_shortcut: Pull | None = None
    if block.shortcut is not None:
        h, pull_shortcut = convolve(h, block.shortcut.weight, block.shortcut.bias)

    def pull(g: Tensor) -> tuple[Tensor, Tensor | None]:
        direct = g if pull_shortcut is None else pull_shortcut(g)
        inner = pull_conv2(g)
        inner, in_scale, in_shift = pull_norm2(inner if kept is None else inner * kept)
        inner = pull_conv1(inner)
        inner = inner if pull_z is None else pull_z(inner)
        direct = direct if pull_h is None else pull_h(direct)
        slope = None
        if moved is not None:  # scale and shift of the FiLM itself
            of_scale = in_scale * gamma + in_shift * beta
            slope = (torch.cat([of_scale, in_shift], 1) * moved).sum(1)
        return direct + pull_norm1(inner)[0], slope

    return z + h, pull
