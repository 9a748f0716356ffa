"""What a run can be asked for: classes by number or name, and a scale of guidance."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, nearest
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.sampling.generation import Generation

if TYPE_CHECKING:
    from modules.runs.run import Run


def labels(run: Run, label: int | Sequence[int] | Tensor | None, num: int) -> Tensor | None:
    """Labels (num,) from one or many, checked against the model; None: None.

    Raises:
        ConfigurationError: a class that the model has not, or not as many as images.
    """
    if label is None:
        return None
    _need_labels(run)
    known = run.energy.num_classes
    asked = torch.as_tensor(label, dtype=torch.int64)
    asked = asked.expand(num) if asked.ndim == 0 else asked
    if asked.shape != (num,):
        raise ConfigurationError(f"{num} labels are needed, or one for all; got {asked.numel()}")
    wrong = asked[(asked < -1) | (asked >= known)]
    if len(wrong):
        raise ConfigurationError(f"a label must be in 0..{known - 1} (-1 = none), got {int(wrong[0])}")
    return asked


def label_of(run: Run, name: str) -> int:
    """A class's number, from its number or its name.

    Raises:
        ConfigurationError: a name that the data don't know, or a run without labels.
    """
    try:
        return int(name)
    except ValueError:
        _need_labels(run)
    names = run.data.class_names
    if name not in names:
        raise ConfigurationError(
            f"no class is named {name!r}.{nearest(name, names)} Give its number, 0.."
            f"{run.energy.num_classes - 1}"
        )
    return names.index(name)


def _need_labels(run: Run) -> None:
    if run.energy.num_classes == 0:
        raise ConfigurationError("the run was trained without labels (NUM_CLASSES = 0): leave the label out")


def guided(run: Run, scale: float | None) -> Generation:
    """The run's generation, with classifier-free guidance of scale w (spec §8); None: as configured.

    Raises:
        ConfigurationError: a run without labels.
    """
    if scale is None:
        return run.generation
    if run.energy.num_classes == 0:
        raise ConfigurationError("the run was trained without labels: guidance has nothing to guide with")
    generation = copy.copy(run.generation)
    generation.guidance = ClassifierFreeGuidance(float(scale))
    return generation
