"""Compositions by densities: one or the other, and one but not the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gin
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.core.tensors import expand_as
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.sum import check_weights, common_classes
from modules.layers.embeddings import check_no_label


class _OfDensities(Energy):
    """Parts that are densities at every level, each for a class of its own or for the samples' own labels."""

    def __init__(self, parts: Sequence[Energy], labels: Sequence[int | None] | None) -> None:
        name = type(self).__name__
        for part in parts:
            if not isinstance(part, NormalizedEnergy):
                raise ConfigurationError(
                    f"{name} weighs densities, and a {type(part).__name__} doesn't know its constant: "
                    "take runs of a NormalizedEnergy"
                )
        known = common_classes(name, parts)
        labels = [None] * len(parts) if labels is None else list(labels)
        if len(labels) != len(parts):
            raise ConfigurationError(
                f"{name} needs one label for each of {len(parts)} parts, got {len(labels)}"
            )
        for label in labels:
            if label is not None:
                check_integer(f"{name}'s labels", label, low=0, high=known - 1)
        super().__init__(parts[0].shape, known)
        self.parts, self._labels = nn.ModuleList(dict.fromkeys(parts)), labels
        self._place = [list(dict.fromkeys(parts)).index(part) for part in parts]

    def potentials(self, y: Tensor, transition: Transition, label: Tensor | None) -> list[Tensor]:
        """-log p (b,) of x_s by each part."""
        if not self.num_classes:
            check_no_label(self, label)
        logsnr = transition.logsnr_s.clamp(-20, 20)  # clean data have none
        x, found = y / expand_as(transition.y_scale, y), []
        for place, own in zip(self._place, self._labels, strict=True):
            part = self.parts[place]
            assert isinstance(part, NormalizedEnergy)
            of_part = label if own is None else torch.full_like(transition.t, own)
            found.append(part.potential(x, logsnr, of_part if part.num_classes else None))
        return found


@gin.register
class AnyOf(_OfDensities):
    """E = -energy_scale · log Σ_m w_m p_m: "this or that", a mixture of densities, at every level.

    Unlike products, mixtures of level s are the level s of the mixture: a ladder of them is exact.

    Args:
        energies: NormalizedEnergies of one shape; the same one may stand for several classes.
        weights: w_m above 0, scaled to sum 1; None: equal.
        labels: the class of each part, None for the samples' own.

    Raises:
        ConfigurationError: energies, weights or labels that don't fit together.
    """

    def __init__(
        self,
        energies: Sequence[Energy],
        weights: Sequence[float] | None = None,
        labels: Sequence[int | None] | None = None,
    ) -> None:
        weights = [1.0] * len(energies) if weights is None else list(weights)
        check_weights("AnyOf", energies, weights)
        if min(weights) <= 0:
            raise ConfigurationError("AnyOf.weights are shares of a mixture: each must be above 0")
        super().__init__(energies, labels)
        self.log_weights = [math.log(weight / sum(weights)) for weight in weights]

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E (b,) of y (b, *shape)."""
        logs = [w - u for w, u in zip(self.log_weights, self.potentials(y, transition, label), strict=True)]
        return -transition.energy_scale * torch.stack(logs).logsumexp(0)


@gin.register
class ButNot(_OfDensities):
    """E = energy_scale · [U_a + w log(1 + r p_b/p_a)]: "a, but not b".

    The factor (p_a/(p_a + r p_b))^w lies in (0, 1], so that the density stays below p_a and can be
    normalized, which p_a/p_b^w cannot; where b is as dense as a, it is 2^-w.

    Args:
        energy, other: a and b, NormalizedEnergies of one shape, which may be the same one.
        strength: w, above 0 and at most 100.
        odds: r, how much of b is to be reckoned with for one of a.
        labels: the classes of a and b, None for the samples' own.
    """

    def __init__(
        self,
        energy: Energy,
        other: Energy,
        strength: float = 1.0,
        odds: float = 1.0,
        labels: Sequence[int | None] | None = None,
    ) -> None:
        check_number("ButNot.strength", strength, above=0, high=100)
        check_number("ButNot.odds", odds, above=0)
        super().__init__([energy, other], labels)
        self.strength, self.log_odds = strength, math.log(odds)

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E (b,) of y (b, *shape)."""
        first, other = self.potentials(y, transition, label)
        avoided = F.softplus(self.log_odds + first - other)
        return transition.energy_scale * (first + self.strength * avoided)
