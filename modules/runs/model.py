"""A trained model that can be drawn from, and what it can be asked for: classes and a scale of guidance."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from modules.contracts.before import check_sampling
from modules.core.checks import ConfigurationError, check_integer, nearest
from modules.data.base import Data, Examples
from modules.data.given import as_labels
from modules.energies.base import Energy
from modules.evaluation.evaluation import Evaluation
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.initializers.base import Initializer
from modules.methods.networks import Networks
from modules.runtime.runtime import Runtime
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation, Sampled
from modules.sampling.indexed import diverged, not_finite, sample
from modules.schedules.base import Schedule


class Model(ABC):
    """What a run is to those who draw from it; they may put others in the place of networks and generation.

    Attributes:
        name: by which messages and protocols name it, most often its folder.
        energy, initializer: what is sampled: trained networks, or compositions of several runs'.
        generation: how samples are drawn.
        runtime: devices and processes.
        evaluation: what is measured of samples; None: nothing yet.
        step, weights: which weights the networks have.
    """

    name: str
    energy: Energy
    initializer: Initializer
    generation: Generation
    runtime: Runtime
    evaluation: Evaluation | None
    step: int
    weights: str
    _looked_at: frozenset[int] = frozenset()

    @property
    @abstractmethod
    def schedule(self) -> Schedule:
        """The levels that the networks know."""

    @property
    def networks(self) -> Networks:
        """What is sampled from, on its levels."""
        return Networks(self.energy, self.initializer, self.schedule)

    @property
    @abstractmethod
    def data(self) -> Data:
        """The data set, unopened: what its classes are called, and what samples are measured beside."""

    @abstractmethod
    def open_data(self) -> Examples:
        """The data, opened. Raises DataError: what is missing, broken or another than it was."""

    @property
    def class_names(self) -> list[str]:
        """One name a class; empty where they aren't known."""
        return self.data.class_names

    def read_class_names(self) -> list[str]:
        """These, or as the data's files have them now."""
        return self.class_names

    def name_of(self, label: int) -> str:
        """A class as output names it: its number, and its name where that says more; "none" for -1."""
        if label < 0:
            return "none"
        name = self.class_names[label] if label < len(self.class_names) else str(label)
        return str(label) if name == str(label) else f"{label} ({name})"

    def labels(self, label: int | Sequence[int] | Tensor | None, num: int) -> Tensor | None:
        """Labels (num,) from one or many, checked against the model; None: None.

        Raises:
            ConfigurationError: a class that the model has not, no whole number, or not as many as images.
        """
        if label is None:
            return None
        self._need_labels()
        known = self.energy.num_classes
        asked = as_labels(label)
        asked = asked.expand(num) if asked.ndim == 0 else asked
        if asked.shape != (num,):
            raise ConfigurationError(f"{num} labels are needed, or one for all; got {asked.numel()}")
        wrong = asked[(asked < -1) | (asked >= known)]
        if len(wrong):
            raise ConfigurationError(f"a label must be in 0..{known - 1} (-1 = none), got {int(wrong[0])}")
        return asked

    def label_of(self, name: str) -> int:
        """A class's number, from its name or, where no class has such a name, its number.

        Raises:
            ConfigurationError: a name that the data don't know, or a run without labels.
        """
        if name in self.class_names:
            return self.class_names.index(name)
        try:
            return int(name)
        except ValueError:
            self._need_labels()
        names = self.read_class_names()
        if name in names:
            return names.index(name)
        known = f"Give its number, 0..{self.energy.num_classes - 1}"
        raise ConfigurationError(f"no class is named {name!r}.{nearest(name, names)} {known}")

    def _need_labels(self) -> None:
        if self.energy.num_classes == 0:
            raise ConfigurationError(
                "the run was trained without labels (NUM_CLASSES = 0): leave the label out"
            )

    def guided(self, scale: float | None) -> Generation:
        """The generation, with classifier-free guidance of scale w (spec §8); None: as configured.

        Raises:
            ConfigurationError: a run without labels.
        """
        if scale is None:
            return self.generation
        if self.energy.num_classes == 0:
            raise ConfigurationError("the run was trained without labels: guidance has nothing to guide with")
        generation = copy.copy(self.generation)
        generation.guidance = ClassifierFreeGuidance(float(scale))
        return generation

    def draw(
        self, draw: Draw, guidance: float | None = None, batch_size: int = 256, progress: bool = False
    ) -> Sampled:
        """What every way of sampling ends in: see modules.sampling.indexed.sample.

        Raises:
            DataError: on every process, if samples of any aren't finite.
        """
        check_integer("batch_size", batch_size, low=1)
        generation = self.guided(guidance)
        looked_at = {id(generation.sampler), id(generation.guidance), id(self.energy), id(self.initializer)}
        if not looked_at <= self._looked_at:  # once for each of them
            check_sampling(generation, self.networks, self.runtime)
            self._looked_at = self._looked_at | looked_at
        drawn = sample(generation, self.networks, draw, self.runtime, batch_size, progress)
        if lost := not_finite(drawn.x):
            raise diverged(lost, len(drawn.x))
        return drawn
