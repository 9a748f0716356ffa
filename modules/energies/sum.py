"""A composition of energies: the product of their densities, level by level (spec §8)."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import torch
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_instance, check_number
from modules.core.types import EnergyFn, Transition
from modules.energies.base import Energy


@gin.register
class EnergySum(Energy):
    """E = Σ_m w_m E_m of energies trained on one ladder (spec §8).

    Exact for each level by itself: a ladder of products isn't the product's ladder.

    Args:
        energies: of one shape; those that know labels have the same classes, the others see none.
        weights: w_m, one for each.

    Raises:
        ConfigurationError: energies or weights that don't fit together.
    """

    def __init__(self, energies: Sequence[Energy], weights: Sequence[float]) -> None:
        for energy in energies:
            check_instance("EnergySum.energies' entries", energy, Energy)
        check_weights("EnergySum", energies, weights)
        super().__init__(energies[0].shape, common_classes("EnergySum", energies))
        self.energies = nn.ModuleList(energies)
        self.weights = tuple(weights)

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E (b,) of y (b, *shape)."""
        return self._sum([e(y, transition, self._label(e, label)) for e in self._parts()])

    def at(self, transition: Transition, label: Tensor | None = None) -> EnergyFn:
        """y -> E(y), each part bound in its own way."""
        parts = [e.at(transition, self._label(e, label)) for e in self._parts()]
        return lambda y: self._sum([part(y) for part in parts])

    def _parts(self) -> list[Energy]:
        return [energy for energy in self.energies if isinstance(energy, Energy)]

    def _sum(self, terms: list[Tensor]) -> Tensor:
        return torch.stack([w * term for w, term in zip(self.weights, terms, strict=True)]).sum(0)

    def _label(self, energy: Energy, label: Tensor | None) -> Tensor | None:
        return None if self.num_classes and not energy.num_classes else label


def check_weights(name: str, parts: Sequence[object], weights: Sequence[float]) -> None:
    """Raise unless there are parts and a number for each."""
    if not parts:
        raise ConfigurationError(f"{name} needs at least one part")
    if len(weights) != len(parts):
        raise ConfigurationError(
            f"{name} needs one weight for each of {len(parts)} parts, got {len(weights)}"
        )
    for weight in weights:
        check_number(f"{name}'s weights", weight)


def common_classes(name: str, parts: Sequence[nn.Module]) -> int:
    """The number of classes of networks of one shape; 0 where none has labels."""
    if len({part.shape for part in parts}) > 1:
        shapes = ", ".join(str(part.shape) for part in parts)
        raise ConfigurationError(f"{name}: models of different shapes can't be composed: {shapes}")
    classes = {int(part.num_classes) for part in parts} - {0}  # type: ignore[arg-type]
    if len(classes) > 1:
        raise ConfigurationError(
            f"{name}: models of different classes can't be composed: {', '.join(map(str, sorted(classes)))}"
        )
    return max(classes, default=0)
