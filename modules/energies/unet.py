"""A U-Net inside the energy (spec §13)."""

from __future__ import annotations

from collections.abc import Sequence

import gin
from torch import Tensor

from modules.core.checks import check_number
from modules.energies.image import ImageEnergy, Linearized
from modules.layers.embeddings import level_position
from modules.layers.unet import UNetLayers


@gin.register
class UNetEnergy(ImageEnergy):
    """ImageEnergy of a U-Net that starts at zero, with its gradient written out (spec §13).

    E starts as the Gaussian of the data's second moment at every level. The level is embedded by waves of
    at most `level_waves` radians in 20 of λ: faster ones would make ∂E/∂λ noise.

    Args:
        shape: (channels, height, width), both sides divisible by 2^(levels-1).
        num_classes: labels 0..num_classes-1; 0: unconditional.
        form, data_var: see ImageEnergy.
        dim, dim_mults, num_blocks, attention_resolutions, groups, num_heads: see UNetLayers.
        dropout: probability before the second convolution of a block, where losses are learned; chains and
            all that follows training go without. E, ∇E and ∂E/∂λ share one mask.
        level_waves: radians.

    Raises:
        ConfigurationError: sizes that don't fit, named.
    """

    channels_last = False  # its group norms take the other format: a score step in 0.8 of the time
    compiles_slopes = True

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        form: str = "product",
        data_var: float | None = 0.5,
        dim: int = 64,
        dim_mults: Sequence[int] = (1, 1, 1),
        num_blocks: int = 2,
        attention_resolutions: Sequence[int] = (16, 8),
        groups: int = 8,
        num_heads: int = 1,
        dropout: float = 0.0,
        level_waves: float = 40.0,
    ) -> None:
        super().__init__(shape, num_classes, form, data_var)
        check_number("UNetEnergy.level_waves", level_waves, above=0)
        self.level_waves = level_waves
        self.settings = {
            "dim": dim,
            "dim_mults": dim_mults,
            "num_blocks": num_blocks,
            "attention_resolutions": attention_resolutions,
            "groups": groups,
            "num_heads": num_heads,
            "dropout": dropout,
        }
        self.layers = UNetLayers()
        self.layers.build(
            "UNetEnergy",
            self.shape,
            num_classes,
            dim,
            dim_mults,
            num_blocks,
            attention_resolutions,
            dropout=dropout,
            groups=groups,
            num_heads=num_heads,
        )

    def network(self, logsnr: Tensor, label: Tensor | None, with_level: bool) -> Linearized:
        """As ImageEnergy's: the embedding and all that follows from it are computed once."""
        position, rate = level_position(logsnr, self.level_waves)
        if not with_level:
            embedded = self.layers.embedding.distinct(position, label)
            return self.layers.freeze(embedded.to_samples(embedded.values)).linearize
        embedding, tangent = self.layers.embedding.with_tangent(position, label)
        return self.layers.freeze(embedding, tangent * rate).linearize
