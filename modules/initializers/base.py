"""What every initializer is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from modules.core.checks import check_bool, check_integer, check_shape
from modules.core.tensors import expand_as
from modules.core.types import NoiseSource, Transition
from modules.core.unlabelled import accept_no_label


class Initializer(nn.Module, ABC):
    """g(x_t, λ_t[, label]): the mean of where a chain starts, in the coordinates of y (spec §4).

    The proposal noise is added once, after guidance, by `propose`. Without classes `label` may be left out.

    Args:
        shape: of one sample, (channels, height, width) or (dimension,).
        num_classes: labels are 0..num_classes-1; 0: no labels.
        proposal_noise: off: chains start at the mean itself.

    Raises:
        ConfigurationError: a bad shape or number of classes.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0, proposal_noise: bool = True) -> None:
        super().__init__()
        self.shape = check_shape(f"{type(self).__name__}.shape", shape)
        check_integer(f"{type(self).__name__}.num_classes", num_classes, low=0)
        check_bool(f"{type(self).__name__}.proposal_noise", proposal_noise)
        self.num_classes, self.proposal_noise = num_classes, proposal_noise

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        accept_no_label(cls, "mean", Initializer)

    @abstractmethod
    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """g, shaped like x_t.

        Args:
            x_t: (b, *shape).
            transition: of the level pair, one entry per sample.
            label: (b,) int64, -1 = none; None: no label for any sample.
        """

    def spread(self, transition: Transition) -> Tensor:
        """Standard deviation (b,) of the proposal noise: √β̃_t · y_scale (spec §4)."""
        return transition.posterior_var.sqrt() * transition.y_scale

    def propose(self, mean: Tensor, transition: Transition, noise: NoiseSource) -> Tensor:
        """y⁰ = mean [+ spread · z], where a chain starts; `mean` is g, after guidance (b, *shape)."""
        if not self.proposal_noise:
            return mean
        z = noise.normal("proposal", tuple(mean.shape[1:]))
        return mean + expand_as(self.spread(transition), mean) * z

    def forward(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """The mean."""
        return self.mean(x_t, transition, label)
