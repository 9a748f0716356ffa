"""What every energy is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.checks import check_integer, check_shape
from modules.core.types import EnergyFn, Transition
from modules.core.unlabelled import accept_no_label
from modules.schedules.levels import level


@dataclass(frozen=True)
class Slopes:
    """E (b,), ∇E shaped like x, and ∂E/∂λ (b,) or None; all may carry gradients of the parameters."""

    value: Tensor
    in_x: Tensor
    in_level: Tensor | None


class Energy(nn.Module, ABC):
    """E(y; transition, label): one number per sample, low where data is likely; E = -f of the papers.

    With it, log p(y) = -E(y)/energy_scale up to a constant, y = y_scale · x_s (spec §2). A subclass needs
    `forward` alone, which without classes may leave `label` out; `at` is for one that can compute ahead what
    a chain would compute again and again.

    Args:
        shape: of one sample, (channels, height, width) or (dimension,).
        num_classes: labels are 0..num_classes-1; 0: no labels.

    Raises:
        ConfigurationError: a bad shape or number of classes.
    """

    channels_last = True
    """Whether its convolutions are fastest in this memory format on a CPU."""
    compiles_slopes = False
    """Whether `slopes` is written out, one graph that a loss learns through, with no autograd inside."""

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0) -> None:
        super().__init__()
        self.shape = check_shape(f"{type(self).__name__}.shape", shape)
        check_integer(f"{type(self).__name__}.num_classes", num_classes, low=0)
        self.num_classes = num_classes

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in ("forward", "at"):
            accept_no_label(cls, name, Energy)

    @abstractmethod
    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E, exactly (b,).

        Args:
            y: (b, *shape), in the coordinates y_scale · x_s.
            transition: of the level pair, one entry per sample.
            label: (b,) int64, -1 = none; None: no label for any sample.
        """

    def at(self, transition: Transition, label: Tensor | None = None) -> EnergyFn:
        """y -> E(y), all else bound; differentiable in y, to any order that `forward` is."""
        return lambda y: self(y, transition, label)

    def log_partition(self, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        """log ∫ e^{-E/σ̄} dx of what E starts as, up to a constant, and its slope in λ: (b,) and (b,).

        Here D log σ̄, whose slope is -½Dᾱ: N(·, σ̄² I). What E learns beside it is c(λ)'s (spec §13).
        """
        size = math.prod(self.shape)
        return 0.5 * size * F.logsigmoid(-logsnr), -0.5 * size * torch.sigmoid(logsnr)

    def slopes(self, x: Tensor, logsnr: Tensor, label: Tensor | None = None) -> Slopes:
        """E, ∇E and ∂E/∂λ at x (b, *shape), noisy to λ (b,): what losses of gradients learn from (spec §13).

        This one asks autograd and keeps its graph, so that a loss of them goes through a double backward;
        an energy that writes its gradient out in differentiable operations spares that.
        """
        with torch.enable_grad():
            x, logsnr = x.detach().requires_grad_(), logsnr.detach().requires_grad_()
            value = self(x, level(logsnr), label)
            in_x, in_level = torch.autograd.grad(
                value.sum(), (x, logsnr), create_graph=True, materialize_grads=True
            )  # zeros where E doesn't look at the level
        return Slopes(value, in_x, in_level)
