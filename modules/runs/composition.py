"""A run with a composition in the place of its model or of its guidance (spec §8)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from modules.core.checks import ConfigurationError
from modules.energies.alternatives import AnyOf, ButNot
from modules.energies.sum import EnergySum
from modules.guidance.composition import Composition
from modules.initializers.copy import CopyInitializer
from modules.initializers.own import OwnInitializer
from modules.initializers.sum import InitializerSum
from modules.runs.model import Model

AnyModel = TypeVar("AnyModel", bound=Model)


def composed_with(model: AnyModel, others: Sequence[Model], weights: Sequence[float]) -> AnyModel:
    """This run with the composition of its model and others' in the place of its networks (spec §8).

    Args:
        others: runs with the same schedule, b² included.
        weights: w_m, this run's first.

    Raises:
        ConfigurationError: models that can't be composed.
    """
    for other in others:
        _same_schedule(model, other)
    composed = copy.copy(model)
    everyone: list[Model] = [model, *others]
    composed.energy = EnergySum([one.energy for one in everyone], weights)
    initializers = [one.initializer for one in everyone]
    # copies and own proposals hold nothing of a model: the composed energy's stand in for all
    if not all(isinstance(initializer, (CopyInitializer, OwnInitializer)) for initializer in initializers):
        composed.initializer = InitializerSum(initializers, weights)
    return composed


def with_conditions(model: AnyModel, labels: Sequence[int], weights: Sequence[float]) -> AnyModel:
    """This run with a composition of classes in the place of its guidance (spec §8).

    Args:
        labels: c_k, class ids.
        weights: w_k, one for each; below 0: not this.

    Raises:
        ConfigurationError: a run without labels, a class that it has not, or a weight too few.
    """
    _need_labels(model, labels)
    conditioned = copy.copy(model)
    conditioned.generation = copy.copy(model.generation)
    conditioned.generation.guidance = Composition(labels, weights)
    return conditioned


def mixed_with(model: AnyModel, others: Sequence[Model], weights: Sequence[float]) -> AnyModel:
    """This run with the mixture of its density and others' in the place of its energy: this or that.

    Args:
        others: runs of normalized energies with the same schedule.
        weights: shares of the mixture, this run's first.

    Raises:
        ConfigurationError: models that can't be mixed.
    """
    for other in others:
        _same_schedule(model, other)
    mixed = _own(model)
    mixed.energy = AnyOf([model.energy, *(other.energy for other in others)], weights)
    return mixed


def with_any(model: AnyModel, labels: Sequence[int], weights: Sequence[float]) -> AnyModel:
    """This run with the mixture of some of its classes in the place of its energy: this class or that.

    Args:
        labels: class ids. weights: shares of the mixture, one for each.

    Raises:
        ConfigurationError: a run without labels, or whose energy is no density.
    """
    _need_labels(model, labels)
    mixed = _own(model)
    mixed.energy = AnyOf([model.energy] * len(labels), weights, list(labels))
    return mixed


def without(model: AnyModel, label: int, strength: float = 1.0, odds: float = 1.0) -> AnyModel:
    """This run with "anything but this class" in the place of its energy, boundedly: see ButNot.

    Args:
        strength: how much a sample's chance of being of the class counts. odds: what the class weighs in it.

    Raises:
        ConfigurationError: a run without labels, or whose energy is no density.
    """
    _need_labels(model, [label])
    rest = _own(model)
    rest.energy = ButNot(model.energy, model.energy, strength, odds, [None, label])
    return rest


def _need_labels(model: Model, labels: Sequence[int]) -> None:
    if model.energy.num_classes == 0:
        raise ConfigurationError("the run was trained without labels: there are none to compose")
    model.labels(list(labels), len(labels))


def _own(model: AnyModel) -> AnyModel:
    """A copy whose energy may be replaced: its proposals come from the energy."""
    if not isinstance(model.initializer, (CopyInitializer, OwnInitializer)):
        raise ConfigurationError(
            f"a {type(model.initializer).__name__} proposes for the model it was trained with: mixtures "
            "need a run whose energy proposes by itself (OwnProposal)"
        )
    return copy.copy(model)


def _same_schedule(model: Model, other: Model) -> None:
    """Raise unless both know the same levels."""
    if not model.schedule.same_as(other.schedule):
        raise ConfigurationError(
            f"{other.name} has another schedule than {model.name}: only models that share levels "
            "and b² can be composed (spec §8)"
        )
