"""The initializer network of cooperative diffusion recovery likelihood (arXiv 2309.05153)."""

from __future__ import annotations

from collections.abc import Sequence

import gin
from torch import Tensor

from modules.initializers.residual import ResidualInitializer
from modules.layers.embeddings import logsnr_position
from modules.layers.unet import UNetLayers


@gin.register
class UNet(ResidualInitializer, UNetLayers):
    """g = x_t + net(x_t, λ_t[, label]), net a U-Net with FiLM conditioning that starts at zero (spec §4, §7).

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
        self.settings = {
            "dim": dim,
            "dim_mults": dim_mults,
            "num_blocks": num_blocks,
            "attention_resolutions": attention_resolutions,
            "dropout": dropout,
            "groups": groups,
            "num_heads": num_heads,
        }
        self.build(
            "UNet",
            self.shape,
            num_classes,
            dim,
            dim_mults,
            num_blocks,
            attention_resolutions,
            dropout,
            groups,
            num_heads,
        )

    def network(self, x: Tensor, logsnr: Tensor, label: Tensor | None) -> Tensor:
        """The U-Net's image."""
        return self.evaluate(x, self.embedding(logsnr_position(logsnr), label))
