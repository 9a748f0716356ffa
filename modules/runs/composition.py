"""A run with a composition in the place of its model or of its guidance (spec §8)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from modules.core.checks import ConfigurationError
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
        if not model.schedule.same_as(other.schedule):
            raise ConfigurationError(
                f"{other.name} has another schedule than {model.name}: only models that share levels "
                "and b² can be composed (spec §8)"
            )
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
    if model.energy.num_classes == 0:
        raise ConfigurationError("the run was trained without labels: there are none to compose")
    model.labels(list(labels), len(labels))
    conditioned = copy.copy(model)
    conditioned.generation = copy.copy(model.generation)
    conditioned.generation.guidance = Composition(labels, weights)
    return conditioned
