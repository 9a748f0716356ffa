"""The energy network of diffusion recovery likelihood (arXiv 2012.08125)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import gin
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_bool, check_choice, check_integer, check_number
from modules.core.types import Transition
from modules.energies.residual import ResidualEnergy
from modules.layers.activations import activation as named_activation
from modules.layers.attention import SelfAttention
from modules.layers.normalization import norm as named_norm
from modules.layers.residual import ResidualBlock
from modules.layers.spectral import SpectralNormalized

# gain of Xavier's uniform initialization for a variance scale of 1e-10: almost zero
_SMALL = 1e-5


def _attention(channels: int, norm: str) -> SelfAttention:
    return SelfAttention(channels, named_norm("RecoveryResNet", norm, channels))


@gin.register
class RecoveryResNet(ResidualEnergy):
    """DRL's energy: CDRL's skeleton, but it reads the integer t - 1 and starts near its shortcuts (§7).

    Args:
        shape: (channels, height, width), both sides divisible by 2^(levels-1).
        num_classes: labels 0..num_classes-1; 0: unconditional, as in the paper.
        channels: width of the first level's unit; 128 in the paper.
        channel_mult: width of each level over channels; None: spec §7's for 32, 64, 128, 256 pixels.
        num_blocks: residual blocks a level; 2 to 8 in the paper.
        activation: "lrelu" in the paper, or "silu"; smooth ones have second derivatives.
        final_activation: before the sum over pixels; "relu" in the paper.
        norm: "none" in the paper, "group" (32 groups) or "instance".
        downsample: "average" or "conv" (3x3, stride 2).
        attention_resolutions: heights of feature maps with self-attention after each block: () or (16,).
        shortcut_size: kernel of the shortcuts where the width changes, 3 or 1.
        spectral_norm: off for ablations.
        dropout: probability before the second convolution of a block, in training, its chains included; 0 in
            the paper. Chains then ask autograd for their gradients, which takes longer.

    Raises:
        ConfigurationError: sizes that don't fit, or an unknown name.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        channels: int = 128,
        channel_mult: Sequence[int] | None = None,
        num_blocks: int = 8,
        activation: str = "lrelu",
        final_activation: str = "relu",
        norm: str = "none",
        downsample: str = "average",
        attention_resolutions: Sequence[int] = (),
        shortcut_size: int = 3,
        spectral_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        act = named_activation("RecoveryResNet.activation", activation)
        final = named_activation("RecoveryResNet.final_activation", final_activation)
        check_choice("RecoveryResNet.norm", norm, ["none", "group", "instance"])
        check_choice("RecoveryResNet.downsample", downsample, ["average", "conv"])
        check_choice("RecoveryResNet.shortcut_size", shortcut_size, [3, 1])
        check_bool("RecoveryResNet.spectral_norm", spectral_norm)
        check_number("RecoveryResNet.dropout", dropout, low=0, below=1)
        if not isinstance(attention_resolutions, (tuple, list)):
            raise ConfigurationError(
                "RecoveryResNet.attention_resolutions must be a list such as (16,),"
                f" got {attention_resolutions!r}"
            )
        for resolution in attention_resolutions:
            check_integer("RecoveryResNet.attention_resolutions' entries", resolution, low=1)
        super().__init__(
            shape,
            num_classes,
            channels,
            channel_mult,
            num_blocks,
            block=partial(
                ResidualBlock,
                activation=act,
                time_activation=False,
                spectral=spectral_norm,
                bounded=True,
                shortcut_size=shortcut_size,
                norm_name=norm,
                dropout=dropout,
            ),
            activation=act,
            final_activation=final,
            head_bias=True,
            spectral=spectral_norm,
            conv_downsample=downsample == "conv",
            attention=partial(_attention, norm=norm),
            attention_resolutions=attention_resolutions,
        )
        self.settings = {
            "channels": channels,
            "channel_mult": channel_mult,
            "num_blocks": num_blocks,
            "activation": activation,
            "final_activation": final_activation,
            "norm": norm,
            "downsample": downsample,
            "attention_resolutions": attention_resolutions,
            "shortcut_size": shortcut_size,
            "spectral_norm": spectral_norm,
            "dropout": dropout,
        }
        self._initialize()

    def _initialize(self) -> None:
        """Weights uniform with variance 1/fan_avg, biases zero; a residual branch ends at almost zero."""
        small: set[nn.Module] = set()
        for stage in self.stages:
            if isinstance(stage, ResidualBlock):
                small.add(stage.conv2)
            elif isinstance(stage, SelfAttention):
                small.add(stage.out)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight, _SMALL if layer in small else 1.0)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            if isinstance(layer, SpectralNormalized) and not layer.weight.is_meta:
                layer.iterate(50)  # the weights are new: σ has to be right from the first step

    def position(self, transition: Transition) -> Tensor:
        """The level index t - 1, in the schedule's precision."""
        return (transition.t - 1).to(transition.logsnr_s.dtype)
