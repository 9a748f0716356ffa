"""The energy network of cooperative diffusion recovery likelihood's toy (arXiv 2309.05153's code)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import gin
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_bool, check_integer
from modules.core.types import Transition
from modules.energies.frozen import FreezableEnergy, FrozenEnergy
from modules.layers.activations import activation as named_activation
from modules.layers.embeddings import LevelEmbedding, logsnr_position
from modules.layers.precision import compute_dtype, full_precision
from modules.layers.residual import Freezable, ResidualDenseBlock
from modules.layers.spectral import linear, snapshot
from modules.layers.stages import DenseStage, FunctionStage, Stage


@gin.register
class DenseResNet(FreezableEnergy):
    """f = <relu(h), w>: CDRL's residual network with dense layers for convolutions, and one w for all levels.

    Every layer but w is spectrally normalized. The published toy's; MLPEnergy learns points better.

    Args:
        shape: (dimension,), or an image's, which is flattened.
        num_classes: labels 0..num_classes-1; 0: unconditional.
        width: unit of the widths; numbers of the sinusoid; the embedding has 4 times as many.
        width_mult: width of each residual block over the unit.
        activation: "lrelu" as published (with a last ReLU), or one that is used everywhere, the end included.
        spectral_norm: off for ablations.

    Raises:
        ConfigurationError: a value out of range.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        width: int = 128,
        width_mult: Sequence[int] = (1, 2, 2, 2),
        activation: str = "lrelu",
        spectral_norm: bool = True,
    ) -> None:
        super().__init__(shape, num_classes)
        self.settings = {
            "width": width,
            "width_mult": width_mult,
            "activation": activation,
            "spectral_norm": spectral_norm,
        }
        check_integer("DenseResNet.width", width, low=4)  # the sinusoid has as many numbers
        check_bool("DenseResNet.spectral_norm", spectral_norm)
        if not isinstance(width_mult, (tuple, list)) or not width_mult:
            raise ConfigurationError(
                f"DenseResNet.width_mult must be integers such as (1, 2), got {width_mult!r}"
            )
        for m in width_mult:
            check_integer("DenseResNet.width_mult's entries", m, low=1)
        act = named_activation("DenseResNet.activation", activation)
        self.final = named_activation(
            "DenseResNet.activation", "relu" if activation == "lrelu" else activation
        )
        self.embedding = LevelEmbedding(width, 4 * width, num_classes, act, spectral_norm)
        self.stem = linear(math.prod(self.shape), width, spectral_norm)
        widths = [width, *(width * m for m in width_mult)]
        self.blocks = nn.ModuleList(
            ResidualDenseBlock(here, there, 4 * width, act, spectral_norm) for here, there in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], 1, bias=False)

    def freeze(self, transition: Transition, label: Tensor | None) -> FrozenEnergy:
        """As FreezableEnergy's."""
        dtype = compute_dtype(self.stem.weight)
        with full_precision(self.stem.weight):
            embedded = self.embedding.distinct(logsnr_position(transition.logsnr_s), label)
            stages: list[Stage] = [
                FunctionStage(lambda y: y.flatten(1)),
                DenseStage(*snapshot(self.stem, dtype)),
            ]
            stages += [cast(Freezable, block).freeze(embedded, dtype) for block in self.blocks]
            head = self.head.weight.clone()
        return FrozenEnergy(stages, self.final, head, dtype)
