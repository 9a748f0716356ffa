"""An initializer for points and small images."""

from __future__ import annotations

import math
from typing import cast

import gin
from torch import Tensor, nn

from modules.core.checks import check_integer
from modules.core.types import Transition
from modules.initializers.base import Initializer
from modules.layers.activations import activation as named_activation
from modules.layers.embeddings import LevelEmbedding, check_no_label, logsnr_position
from modules.layers.film import FilmDenseBlock
from modules.layers.precision import compute_dtype
from modules.layers.residual import Freezable


@gin.register
class MLPInitializer(Initializer):
    """g = x_t + net(x_t, λ_t[, label]), net a residual MLP that starts at zero (spec §4, §7).

    Args:
        shape: (dimension,), or an image's, which is flattened.
        num_classes: labels 0..num_classes-1; 0: unconditional.
        width: numbers of the hidden layers and of the embedding.
        depth: residual blocks, of two dense layers each.
        activation: "silu", "gelu", "softplus", "tanh", "lrelu" or "relu".
        embed_dim: numbers of the sinusoid of λ_t.

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
    ) -> None:
        super().__init__(shape, num_classes)
        check_integer("MLPInitializer.width", width, low=1)
        check_integer("MLPInitializer.depth", depth, low=0, high=1000)
        check_integer("MLPInitializer.embed_dim", embed_dim, low=4)
        self.activation = act = named_activation("MLPInitializer.activation", activation)
        size = math.prod(self.shape)
        self.embedding = LevelEmbedding(embed_dim, width, num_classes, act)
        self.stem = nn.Linear(size, width)
        self.blocks = nn.ModuleList(FilmDenseBlock(width, width, act) for _ in range(depth))
        self.head = nn.Linear(width, size)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """g, shaped like x_t (b, *shape)."""
        if not self.num_classes:
            check_no_label(self, label)
        embedded = self.embedding.distinct(logsnr_position(transition.logsnr_t), label)
        h = self.stem(x_t.flatten(1))
        for block in self.blocks:
            h = cast(Freezable, block).freeze(embedded, compute_dtype(h))(h)
        return x_t + self.head(self.activation(h)).reshape(x_t.shape)
