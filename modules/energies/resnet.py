"""The energy network of cooperative diffusion recovery likelihood (arXiv 2309.05153)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import gin
from torch import Tensor, nn

from modules.core.checks import check_bool
from modules.core.types import Transition
from modules.energies.residual import ResidualEnergy
from modules.layers.activations import activation as named_activation
from modules.layers.embeddings import logsnr_position
from modules.layers.residual import ResidualBlock


@gin.register
class CooperativeResNet(ResidualEnergy):
    """CDRL's energy: a residual network that reads λ_s, every layer but the head spectrally normalized (§7).

    Args:
        shape: (channels, height, width), both sides divisible by 2^(levels-1).
        num_classes: labels 0..num_classes-1; 0: unconditional.
        channels: width of the first level's unit; 128 in the paper.
        channel_mult: width of each level over channels; None: spec §7's for 32, 64, 128, 256 pixels.
        num_blocks: residual blocks a level; 8 in the paper.
        activation: "lrelu" in the paper (with a last ReLU); a smooth one ("silu", "gelu", "softplus", "tanh")
            is used everywhere, the end included, so that second derivatives exist.
        spectral_norm: off for ablations.
        zero_head: start at E = 0, so that first chains stay near where a warm-started initializer puts them.
        quadratic: f has -½||y||² added, the published code's add_q, off there too.

    Raises:
        ConfigurationError: sizes that don't fit, named.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        channels: int = 128,
        channel_mult: Sequence[int] | None = None,
        num_blocks: int = 8,
        activation: str = "lrelu",
        spectral_norm: bool = True,
        zero_head: bool = False,
        quadratic: bool = False,
    ) -> None:
        act = named_activation("CooperativeResNet.activation", activation)
        final = "relu" if activation == "lrelu" else activation
        check_bool("CooperativeResNet.spectral_norm", spectral_norm)
        check_bool("CooperativeResNet.quadratic", quadratic)
        super().__init__(
            shape,
            num_classes,
            channels,
            channel_mult,
            num_blocks,
            block=partial(ResidualBlock, activation=act, time_activation=True, spectral=spectral_norm),
            activation=act,
            final_activation=named_activation("CooperativeResNet.activation", final),
            spectral=spectral_norm,
            quadratic=quadratic,
        )
        self.settings = {
            "channels": channels,
            "channel_mult": channel_mult,
            "num_blocks": num_blocks,
            "activation": activation,
            "spectral_norm": spectral_norm,
            "zero_head": zero_head,
        }
        check_bool("CooperativeResNet.zero_head", zero_head)
        if zero_head:
            nn.init.zeros_(self.head.weight)

    def position(self, transition: Transition) -> Tensor:
        """1000·u of λ_s."""
        return logsnr_position(transition.logsnr_s)
