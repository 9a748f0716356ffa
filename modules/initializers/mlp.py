"""An initializer for points and small images."""

from __future__ import annotations

import math
from typing import cast

import gin
from torch import Tensor, nn

from modules.core.checks import check_integer
from modules.initializers.residual import ResidualInitializer
from modules.layers.activations import activation as named_activation
from modules.layers.embeddings import LevelEmbedding, logsnr_position
from modules.layers.film import FilmDenseBlock, NormalizedFilmDenseBlock
from modules.layers.precision import compute_dtype
from modules.layers.residual import Freezable


@gin.register
class MLPInitializer(ResidualInitializer):
    """g = x_t + net(x_t, λ_t[, label]), net a residual MLP that starts at zero (spec §4, §7).

    Args:
        shape: (dimension,), or an image's, which is flattened.
        num_classes: labels 0..num_classes-1; 0: unconditional.
        width: numbers of the hidden layers.
        depth: residual blocks, of two dense layers each.
        activation: "silu", "gelu", "softplus", "tanh", "lrelu" or "relu".
        embed_dim: numbers of the sinusoid of λ_t.
        embed_width: numbers of the embedding; None: the width.
        groups: of GroupNorms in the blocks, which must divide the width and then start as their shortcuts; 0:
            no GroupNorms.
        proposal_noise: as in the paper, or off: chains start at g itself.

    Raises:
        ConfigurationError: a value out of range.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        width: int = 256,
        depth: int = 3,
        activation: str = "silu",
        embed_dim: int = 64,
        embed_width: int | None = None,
        groups: int = 0,
        proposal_noise: bool = True,
    ) -> None:
        super().__init__(shape, num_classes, proposal_noise)
        self.settings = {
            "width": width,
            "depth": depth,
            "activation": activation,
            "embed_dim": embed_dim,
            "embed_width": embed_width,
            "groups": groups,
        }
        check_integer("MLPInitializer.width", width, low=1)
        check_integer("MLPInitializer.depth", depth, low=0, high=1000)
        check_integer("MLPInitializer.embed_dim", embed_dim, low=4)
        if embed_width is None:
            embed_width = width
        check_integer("MLPInitializer.embed_width", embed_width, low=1)
        check_integer("MLPInitializer.groups", groups, low=0)
        self.activation = act = named_activation("MLPInitializer.activation", activation)
        size = math.prod(self.shape)
        self.embedding = LevelEmbedding(embed_dim, embed_width, num_classes, act)
        self.stem = nn.Linear(size, width)
        self.blocks = nn.ModuleList(self._block(width, embed_width, groups) for _ in range(depth))
        self.head = nn.Linear(width, size)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _block(self, width: int, embed_width: int, groups: int) -> nn.Module:
        act, owner = self.activation, "MLPInitializer.groups"
        if groups:
            return NormalizedFilmDenseBlock(owner, width, embed_width, act, groups)
        return FilmDenseBlock(width, embed_width, act)

    def network(self, x: Tensor, logsnr: Tensor, label: Tensor | None) -> Tensor:
        """The MLP's output, in the shape of x."""
        embedded = self.embedding.distinct(logsnr_position(logsnr), label)
        h = self.stem(x.flatten(1))
        for block in self.blocks:
            h = cast(Freezable, block).freeze(embedded, compute_dtype(h))(h)
        return self.head(self.activation(h)).reshape(x.shape)
