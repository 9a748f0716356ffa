"""An energy for points and small images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import gin
import torch
from torch import Tensor, nn

from modules.core.checks import check_bool, check_integer, check_number
from modules.core.types import Transition
from modules.energies.frozen import FreezableEnergy, FrozenEnergy
from modules.layers.activations import activation as named_activation
from modules.layers.embeddings import LevelEmbedding, level_position, logsnr_position
from modules.layers.film import FilmDenseBlock
from modules.layers.precision import compute_dtype, full_precision
from modules.layers.residual import Freezable
from modules.layers.spectral import linear, snapshot
from modules.layers.stages import DenseStage, Pull, Stage


@gin.register
class MLPEnergy(FreezableEnergy):
    """f = <act(h), head(act(e))>: h a residual MLP of y, modulated by the embedding e of λ_s and label (§7).

    Args:
        shape: (dimension,), or an image's, which is flattened.
        num_classes: labels 0..num_classes-1; 0: unconditional.
        width: numbers of h and e.
        depth: residual blocks, of two dense layers each.
        activation: smooth by default: "silu", "gelu", "softplus" or "tanh"; or "lrelu", "relu".
        num_frequencies: n > 0 also feeds sin and cos of 2^k π y, k = 0..n-1: for sharp edges.
        embed_dim: numbers of the sinusoid of λ_s.
        spectral_norm: on every dense layer but the head.
        level_waves: radians in 20 of λ_s of the sinusoid's fastest wave, such as 40 where ∂E/∂λ is learned
            (§13); None: the published embedding, which is much faster.
        zero_head: start at E = 0, so that first chains stay near where a warm-started initializer puts them.

    Raises:
        ConfigurationError: a value out of range.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        width: int = 128,
        depth: int = 3,
        activation: str = "silu",
        num_frequencies: int = 0,
        embed_dim: int = 64,
        spectral_norm: bool = False,
        zero_head: bool = False,
        level_waves: float | None = None,
    ) -> None:
        super().__init__(shape, num_classes)
        self.settings = {
            "width": width,
            "depth": depth,
            "activation": activation,
            "embed_dim": embed_dim,
            "spectral_norm": spectral_norm,
            "zero_head": zero_head,
        }
        check_integer("MLPEnergy.width", width, low=1)
        check_integer("MLPEnergy.depth", depth, low=0, high=1000)
        check_integer("MLPEnergy.num_frequencies", num_frequencies, low=0, high=32)
        check_integer("MLPEnergy.embed_dim", embed_dim, low=4)
        check_bool("MLPEnergy.spectral_norm", spectral_norm)
        self.activation = act = named_activation("MLPEnergy.activation", activation)
        self.num_frequencies = num_frequencies
        if level_waves is not None:
            check_number("MLPEnergy.level_waves", level_waves, above=0)
        self.level_waves = level_waves
        inputs = math.prod(self.shape) * (1 + 2 * num_frequencies)
        self.embedding = LevelEmbedding(embed_dim, width, num_classes, act, spectral_norm)
        self.stem = linear(inputs, width, spectral_norm)
        self.blocks = nn.ModuleList(FilmDenseBlock(width, width, act, spectral_norm) for _ in range(depth))
        check_bool("MLPEnergy.zero_head", zero_head)
        self.head = nn.Linear(width, width)
        if zero_head:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def freeze(self, transition: Transition, label: Tensor | None) -> FrozenEnergy:
        """As FreezableEnergy's."""
        dtype = compute_dtype(self.stem.weight)
        with full_precision(self.stem.weight):
            logsnr, waves = transition.logsnr_s, self.level_waves
            position = logsnr_position(logsnr) if waves is None else level_position(logsnr, waves)[0]
            embedded = self.embedding.distinct(position, label)
            head = embedded.to_samples(self.head(self.activation(embedded.values)))
            powers = torch.arange(self.num_frequencies, dtype=dtype, device=head.device)
            stages: list[Stage] = [
                _Waves(math.pi * 2.0 ** powers[:, None]),
                DenseStage(*snapshot(self.stem, dtype)),
            ]
            stages += [cast(Freezable, block).freeze(embedded, dtype) for block in self.blocks]
        return FrozenEnergy(stages, self.activation, head, dtype)


@dataclass(frozen=True)
class _Waves(Stage):
    """y flattened, then sin(2^k π y) and cos(2^k π y), k = 0..n-1: (b, ...) -> (b, d(1 + 2n))."""

    scales: Tensor  # (n, 1), 2^k π

    def __call__(self, y: Tensor) -> Tensor:
        y = y.flatten(1)
        if not len(self.scales):
            return y
        angles = (y[:, None] * self.scales).flatten(1)  # (b, n·d)
        return torch.cat([y, angles.sin(), angles.cos()], 1)

    def linearize(self, y: Tensor) -> tuple[Tensor, Pull]:
        shape, n, size = y.shape, len(self.scales), y[0].numel()
        out = self(y)
        _, sin, cos = out.split([size, n * size, n * size], 1)

        def pull(g: Tensor) -> Tensor:
            direct, of_sin, of_cos = g.split([size, n * size, n * size], 1)
            if n:
                slopes = (of_sin * cos - of_cos * sin).unflatten(1, (n, size))
                direct = direct + (slopes * self.scales).sum(1)
            return direct.reshape(shape)

        return out, pull
