"""The initializer network of cooperative diffusion recovery likelihood (arXiv 2309.05153)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gin
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.core.types import Transition
from modules.initializers.base import Initializer
from modules.layers.attention import SelfAttention
from modules.layers.embeddings import LevelEmbedding, check_no_label, logsnr_position
from modules.layers.film import FilmConvBlock, downsample, upsample
from modules.layers.normalization import group_norm


class _Stage(nn.Module):
    """A block and, where the resolution has it, an attention."""

    def __init__(self, block: FilmConvBlock, attention: SelfAttention | None = None) -> None:
        super().__init__()
        self.block, self.attention = block, attention

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        h = self.block(h, embedding)
        return h if self.attention is None else self.attention(h)


@gin.register
class UNet(Initializer):
    """g = x_t + net(x_t, λ_t[, label]), net a U-Net with FiLM conditioning that starts at zero (spec §4, §7).

    Each output of the way down (the first convolution, each block, each downsampling) is concatenated to
    the input of a block of the way up, last first.

    It starts as published: torch's own start, but for the weights of the last convolution, of every block's
    second and of every attention's output, which are zero. The biases of the first two are zero too, where
    the published ones are random: so g is x_t and a block its shortcut to the last digit.

    Args:
        shape: (channels, height, width), both sides divisible by 2^(levels-1).
        num_classes: labels 0..num_classes-1; 0: unconditional.
        dim: width unit; numbers of the sinusoid; the embedding has 4 times as many. 64 in the paper.
        dim_mults: width of each level over dim.
        num_blocks: blocks a level on the way down; one more on the way up. 3 in the paper, 2 for ImageNet32.
        attention_resolutions: heights of the feature maps with self-attention; the middle always has one.
        num_heads: of every attention; must divide its width. One in the paper.
        dropout: probability, before the second convolution of a block.
        groups: of the GroupNorms; must divide the widths.
        proposal_noise: as in the paper, or off: chains start at g itself.

    Raises:
        ConfigurationError: sizes that don't fit, named.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        dim: int = 64,
        dim_mults: Sequence[int] = (1, 1, 1),
        num_blocks: int = 3,
        attention_resolutions: Sequence[int] = (16, 8),
        dropout: float = 0.1,
        groups: int = 32,
        num_heads: int = 1,
        proposal_noise: bool = True,
    ) -> None:
        super().__init__(shape, num_classes, proposal_noise)
        if len(self.shape) != 3:
            raise ConfigurationError(f"UNet.shape must be (channels, height, width), got {shape!r}")
        check_integer("UNet.dim", dim, low=4)
        check_integer("UNet.num_blocks", num_blocks, low=1, high=1000)
        check_integer("UNet.groups", groups, low=1)
        check_integer("UNet.num_heads", num_heads, low=1)
        check_number("UNet.dropout", dropout, low=0.0, high=1.0)
        for name, values in (("dim_mults", dim_mults), ("attention_resolutions", attention_resolutions)):
            if not isinstance(values, (tuple, list)):
                raise ConfigurationError(f"UNet.{name} must be a list of integers, got {values!r}")
            for value in values:
                check_integer(f"UNet.{name}'s entries", value, low=1)
        if not dim_mults:
            raise ConfigurationError(f"UNet.dim_mults must have an entry a level, got {dim_mults!r}")
        factor = 2 ** (len(dim_mults) - 1)
        if self.shape[1] % factor or self.shape[2] % factor:
            raise ConfigurationError(
                f"UNet.dim_mults halves {self.shape[1]}x{self.shape[2]} pixels {len(dim_mults) - 1} times:"
                f" resize to a multiple of {factor} or give fewer entries"
            )
        embed_dim, owner = 4 * dim, "UNet.groups"

        def attention(width: int) -> SelfAttention:
            if width % num_heads:
                raise ConfigurationError(
                    f"UNet.num_heads {num_heads} must divide an attention's width {width}"
                )
            return SelfAttention(width, group_norm(owner, groups, width), num_heads)

        def block(
            width_in: int, width: int, resample: Callable[[Tensor], Tensor] | None = None
        ) -> FilmConvBlock:
            return FilmConvBlock(owner, width_in, width, embed_dim, groups, dropout, resample)

        def stage(width_in: int, width: int) -> _Stage:
            return _Stage(
                block(width_in, width), attention(width) if resolution in attention_resolutions else None
            )

        self.embedding = LevelEmbedding(dim, embed_dim, num_classes, F.silu)
        self.stem = nn.Conv2d(self.shape[0], dim, 3, padding=1)
        widths = [dim * m for m in dim_mults]
        width, resolution, skips = dim, self.shape[1], [dim]
        self.down = nn.ModuleList()
        for level, out in enumerate(widths):
            if level:
                self.down.append(_Stage(block(width, width, downsample)))
                resolution //= 2
                skips.append(width)
            for _ in range(num_blocks):
                self.down.append(stage(width, out))
                width = out
                skips.append(width)

        self.middle1, self.middle2 = _Stage(block(width, width), attention(width)), block(width, width)

        self.up = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(num_blocks + 1):
                self.up.append(stage(width + skips.pop(), out))
                width = out
            if level:
                self.up.append(_Stage(block(width, width, upsample)))
                resolution *= 2

        self.norm = group_norm(owner, groups, width)
        self.head = nn.Conv2d(width, self.shape[0], 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """g, shaped like x_t (b, channels, height, width)."""
        if not self.num_classes:
            check_no_label(self, label)
        embedding = self.embedding(logsnr_position(transition.logsnr_t), label)
        h = self.stem(x_t)
        skips = [h]
        for stage in self.down:
            h = stage(h, embedding)
            skips.append(h)
        h = self.middle2(self.middle1(h, embedding), embedding)
        for stage in self.up:
            assert isinstance(stage, _Stage)
            if stage.block.resample is None:
                h = torch.cat([h, skips.pop()], 1)
            h = stage(h, embedding)
        return x_t + self.head(F.silu(self.norm(h)))
