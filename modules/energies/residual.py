"""The skeleton that the residual energy networks of CDRL and DRL share (spec §7)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_integer
from modules.core.types import Transition
from modules.energies.frozen import FreezableEnergy, FrozenEnergy
from modules.layers.activations import Activation
from modules.layers.attention import SelfAttention
from modules.layers.embeddings import LevelEmbedding
from modules.layers.precision import compute_dtype, full_precision
from modules.layers.residual import AverageDownsample, ConvDownsample, Freezable, ResidualBlock
from modules.layers.spectral import conv2d, snapshot
from modules.layers.stages import ConvStage, Stage

# width multipliers of the levels by the resolution of the images (spec §7)
CHANNEL_MULT = {
    32: (1, 2, 2, 2),
    64: (1, 2, 2, 2, 4),
    128: (1, 2, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 2, 4, 4),
}


def _widths(owner: str, shape: tuple[int, ...], channels: int, mult: Sequence[int] | None) -> list[int]:
    """Channels per level, after checking that the levels divide the image."""
    if len(shape) != 3:
        raise ConfigurationError(f"{owner}.shape must be (channels, height, width), got {shape!r}")
    check_integer(f"{owner}.channels", channels, low=4)  # the sinusoid has as many numbers
    if mult is None:
        if max(shape[1:]) not in CHANNEL_MULT:
            raise ConfigurationError(
                f"{owner}.channel_mult is known for 32, 64, 128 and 256 pixels only, not for"
                f" {shape[1]}x{shape[2]}: give it, such as (1, 2)"
            )
        mult = CHANNEL_MULT[max(shape[1:])]
    if not isinstance(mult, (tuple, list)) or not mult:
        raise ConfigurationError(f"{owner}.channel_mult must be integers such as (1, 2, 2), got {mult!r}")
    for m in mult:
        check_integer(f"{owner}.channel_mult's entries", m, low=1)
    factor = 2 ** (len(mult) - 1)
    if shape[1] % factor or shape[2] % factor:
        raise ConfigurationError(
            f"{owner}: {shape[1]}x{shape[2]} pixels can't be halved {len(mult) - 1} times: resize to a"
            f" multiple of {factor} or give fewer entries of channel_mult"
        )
    return [channels * m for m in mult]


class ResidualEnergy(FreezableEnergy):
    """f = <sum over pixels of final(trunk(y)), head(act(e))>, e the embedding of level and label; E = -f.

    The trunk: a 3x3 convolution, then per level `num_blocks` residual blocks and a downsampling.

    Args:
        shape, num_classes: as Energy's.
        channels: of the first convolution; numbers of the sinusoid; the embedding has 4 times as many.
        channel_mult: width of each level over channels; None: spec §7's by resolution.
        num_blocks: residual blocks a level.
        block: (in, out, embed_dim) -> residual block.
        activation, final_activation: in the embedding and head; before the sum over pixels.
        head_bias: with a bias in the head.
        spectral: spectral norm on stem, embedding and downsampling.
        conv_downsample: by strided convolutions instead of 2x2 means.
        attention: (channels) -> attention, after each block at `attention_resolutions`.
        attention_resolutions: heights of feature maps.
        quadratic: f has -½||y||² added.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        channels: int,
        channel_mult: Sequence[int] | None,
        num_blocks: int,
        block: Callable[[int, int, int], ResidualBlock],
        activation: Activation,
        final_activation: Activation,
        head_bias: bool = False,
        spectral: bool = True,
        conv_downsample: bool = False,
        attention: Callable[[int], SelfAttention] | None = None,
        attention_resolutions: Sequence[int] = (),
        quadratic: bool = False,
    ) -> None:
        super().__init__(shape, num_classes)
        self.quadratic = quadratic
        owner = type(self).__name__
        widths = _widths(owner, self.shape, channels, channel_mult)
        check_integer(f"{owner}.num_blocks", num_blocks, low=1, high=1000)
        embed_dim = 4 * channels
        self.activation, self.final_activation = activation, final_activation
        self.embedding = LevelEmbedding(channels, embed_dim, num_classes, activation, spectral)
        self.stem = conv2d(self.shape[0], channels, spectral=spectral)
        self.stages = nn.ModuleList()
        width, resolution = channels, self.shape[1]
        for level, out in enumerate(widths):
            if level:
                self.stages.append(
                    ConvDownsample(width, spectral) if conv_downsample else AverageDownsample()
                )
                resolution //= 2
            for _ in range(num_blocks):
                self.stages.append(block(width, out, embed_dim))
                width = out
                if attention is not None and resolution in attention_resolutions:
                    self.stages.append(attention(width))
        self.head = nn.Linear(embed_dim, width, bias=head_bias)

    @abstractmethod
    def position(self, transition: Transition) -> Tensor:
        """What the sinusoid embeds, (b,)."""

    def freeze(self, transition: Transition, label: Tensor | None) -> FrozenEnergy:
        """As FreezableEnergy's."""
        dtype = compute_dtype(self.stem.weight)
        with full_precision(self.stem.weight):
            embedded = self.embedding.distinct(self.position(transition), label)
            head = embedded.to_samples(self.head(self.activation(embedded.values)))
            pixels = len(transition.logsnr_s) * self.shape[1] * self.shape[2]
            stages: list[Stage] = [ConvStage(*snapshot(self.stem, dtype))]
            inputs = [pixels]
            for layer in self.stages:
                stage = cast(Freezable, layer).freeze(embedded, dtype)
                both = stages[-1].halved() if isinstance(layer, AverageDownsample) else None
                if both is None:
                    stages.append(stage)
                    inputs.append(pixels)
                else:
                    stages[-1] = both
                if isinstance(layer, (AverageDownsample, ConvDownsample)):
                    pixels //= 4
        if not torch.is_grad_enabled():
            for stage, pixels in zip(stages, inputs, strict=True):
                stage.prepare(pixels)
        inner = cast(ResidualBlock, self.stages[0]).conv1.weight  # the stem's is in both formats at once
        channels_last = not inner.is_contiguous()
        return FrozenEnergy(stages, self.final_activation, head, dtype, channels_last, self.quadratic)
