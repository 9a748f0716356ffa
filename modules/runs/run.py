"""A run's objects with the weights of one checkpoint, and what can be drawn from them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modules.config.loading import Config
from modules.core.checks import ConfigurationError, DataError, check_choice, check_instance, check_integer
from modules.data.base import Data, Examples
from modules.evaluation.evaluation import Evaluation
from modules.features.base import Extractor
from modules.methods.base import Method
from modules.runs import (
    composition,
    inpainting,
    interpolation,
    likelihood,
    measuring,
    restoration,
    sharing,
)
from modules.runs.data_record import DataRecord, check_data, is_order_unsure
from modules.runs.trained import Trained
from modules.runtime.runtime import Runtime
from modules.samplers.base import Sampler
from modules.sampling.draw import Draw
from modules.sampling.generation import QUALITIES, Generation, Sampled
from modules.sampling.inpainting import Inpainting
from modules.schedules.base import Schedule
from modules.storage import checkpoints
from modules.training.ema import EMA
from modules.training.kept import Kept, restore_kept
from modules.training.saved import load_weights


class Run(Trained):
    """Trained networks to draw from, to compose and to measure: a folder's (see `load`), or one's own.

        run = Run(method, generation, data)  # the networks as they are
        run = Run(method, generation, data).take_weights("runs/mine")  # with the weights of a checkpoint

    The method is taken over: moved to the runtime's device, in eval mode, without gradients of its weights.

    Args:
        method: its networks are what is drawn from.
        generation: how samples are drawn.
        data: what the networks learnt; None: there are no names of classes, and nothing to measure beside.
        runtime: devices and processes; None: Runtime().
        evaluation: what is measured of samples; None: what `evaluate` is given.
        name: by which messages and protocols name it.

    Attributes:
        method, energy, initializer, schedule, generation, runtime, data: see Model.
        extractor: of features, where evaluation or configuration names one.
        step: of the checkpoint; 0: of none. weights: "ema" or "live".
        folder, config, checkpoint: of a loaded run; a run of objects has no config.
        recorded: what the data were when it was trained; None: nothing is known.
        allow_changes: whether other data may stand in their place.
        parts: further components that `load` was asked for, by name.
    """

    inpaint = inpainting.inpaint
    interpolate = interpolation.interpolate
    log_prob = likelihood.log_prob
    restore = restoration.restore
    composed_with = composition.composed_with
    with_conditions = composition.with_conditions
    save_pretrained = sharing.save_pretrained
    push_to_hub = sharing.push_to_hub
    mixed_with = composition.mixed_with
    with_any = composition.with_any
    without = composition.without
    evaluate = measuring.evaluate
    evaluator = measuring.evaluator

    def __init__(
        self,
        method: Method,
        generation: Generation,
        data: Data | None = None,
        runtime: Runtime | None = None,
        evaluation: Evaluation | None = None,
        name: str = "these networks",
    ) -> None:
        check_instance("Run.method", method, Method)
        check_instance("Run.generation", generation, Generation)
        check_instance("Run.data", data, (Data, type(None)))
        check_instance("Run.runtime", runtime, (Runtime, type(None)))
        check_instance("Run.evaluation", evaluation, (Evaluation, type(None)))
        self.method, self.name, self.evaluation = method, name, evaluation
        if data is not None and data.shape != method.energy.shape:
            raise ConfigurationError(
                f"the data has shape {data.shape}, the energy {method.energy.shape}: give Run.data alike"
            )
        self._data = data
        self.generation = generation
        if generation.inpainting is None:
            self.generation = copy.copy(generation)
            self.generation.inpainting = Inpainting(method.shared_noise)
        self.extractor: Extractor | None = evaluation.extractor if evaluation else None
        self.runtime = Runtime() if runtime is None else runtime
        self.runtime.place(method.requires_grad_(False).eval())
        self.energy, self.initializer = method.energy, method.initializer
        self.folder, self.step, self.weights = Path(), 0, "live"
        self.config: Config | None = None
        self.checkpoint: Path | None = None
        self.recorded: DataRecord | None = None
        self.allow_changes = False
        self.parts: dict[str, Any] = {}

    def take_weights(
        self, folder: str | Path, checkpoint: str | Path | None = None, weights: str = "ema"
    ) -> Run:
        """This run, with the weights and the state of a checkpoint in its own networks.

        Args:
            folder: the run's. checkpoint: one of its checkpoints; "best": that of its best step; None: the
                newest whole one.
            weights: "ema" or "live".

        Raises:
            CheckpointError: what is missing or doesn't fit.
        """
        check_choice("weights", weights, ("ema", "live"))
        self.folder, self.weights = Path(folder), weights
        self.name = str(folder)
        if checkpoint == "best":
            checkpoint = checkpoints.best(self.folder)
        if checkpoint:
            self.checkpoint = Path(checkpoint)
            tensors, state = checkpoints.load(self.checkpoint)
        else:
            self.checkpoint, tensors, state = checkpoints.load_latest(self.folder)
        for name, network in self.method.networks().items():
            load_weights(network, tensors, f"{name}_ema" if weights == "ema" else name)
            if weights == "ema":
                EMA.ready(network)
        kept = Kept(self.method, list(self.method.networks().values()))
        restore_kept(kept, tensors, "method_state", self.runtime.device)
        if "generation_state" in tensors:  # of the parts that sample now: others may be asked for
            state_of_parts = tensors["generation_state"]
            Kept(self.generation).restore(
                state_of_parts, "generation_state", self.runtime.device, strict=False
            )
        self.step = state["step"]
        return self

    @property
    def schedule(self) -> Schedule:
        """The method's: the levels that the networks were trained on."""
        return self.method.schedule

    @property
    def sampler(self) -> Sampler:
        """The chains that the networks were trained with, or, by a method without any, the generation's."""
        found = getattr(self.method, "sampler", None)
        return found if isinstance(found, Sampler) else self.generation.sampler

    @property
    def data(self) -> Data:
        """The data set. Raises DataError where the run was made without."""
        if self._data is None:
            raise DataError(f"{self.name}: made without data, of which names of classes and references come")
        return self._data

    @data.setter
    def data(self, data: Data) -> None:
        self._data = data

    @cached_property
    def class_names(self) -> list[str]:
        """As recorded when it was trained; without a record, those that are known without the files."""
        if self.recorded is not None:
            return self.recorded.class_names
        return self._data.class_names if self._data is not None else []

    def read_class_names(self) -> list[str]:
        if self.recorded is not None or self.energy.num_classes == 0:
            return self.class_names
        try:
            names = self.data.read_class_names()
        except DataError:
            return []
        return [] if is_order_unsure(names) else names

    def open_data(self) -> Examples:
        """The data that the run was trained on, opened.

        Raises:
            DataError: what is missing or broken; other data than then, unless changes are allowed, or the
                overrides name others.
        """
        examples = self.data.open()
        if self.folder != Path():
            check_data(self.folder, self.recorded, DataRecord.of(self.data, examples), self.allow_changes)
        return examples

    def generate(
        self,
        num: int,
        label: int | Sequence[int] | Tensor | None = None,
        guidance: float | None = None,
        seed: int = 0,
        batch_size: int = 256,
        dtype: torch.dtype = torch.float32,
        progress: bool = False,
    ) -> Sampled:
        """Images 0..num-1 of a seed, on the CPU; image i depends on (seed, i, its label) alone.

        Args:
            num: how many.
            label: one class for all, or (num,) classes, -1 = none; None: none.
            guidance: w of classifier-free guidance (spec §8); None: as configured.
            batch_size: images at once on a device. progress: whether to show a bar.

        Raises:
            ConfigurationError: labels or guidance that the model was not made for.
        """
        check_integer("num", num, low=1)
        draw = Draw.of_seed(seed, num, self.labels(label, num), dtype=dtype)
        return self.draw(draw, guidance, batch_size, progress)

    def with_ladder(self, num_levels: int) -> Run:
        """This run with another number of levels T when sampling, for energies of continuous levels.

        Raises:
            ConfigurationError: T below 1, or a run trained on a fixed ladder.
        """
        check_integer("ladder", num_levels, low=1)
        other = copy.copy(self)
        other.method = copy.copy(self.method)
        other.method.schedule = self.method.schedule.with_levels(num_levels)
        return other

    def with_quality(self, name: str) -> Run:
        """This run by the levels and chain steps that its recipe has for "fast" or "best"; "default": as is.

        Raises:
            ConfigurationError: another name, a run trained on a fixed ladder, or a recipe that has none.
        """
        check_choice("quality", name, QUALITIES)
        if name == "default":
            return self
        if type(self.method.schedule).with_levels is Schedule.with_levels:
            raise ConfigurationError(
                f"quality {name!r} picks levels, and the run was trained on the {self.schedule.num_levels} "
                f"of a {type(self.schedule).__name__}: take fewer chain steps (--steps) instead"
            )
        found = (self.generation.qualities or {}).get(name)
        if found is None:
            raise ConfigurationError(
                f"the run's recipe has no quality {name!r}: give levels and chain steps (--ladder T "
                f"--steps K), or --set \"Generation.qualities={{'{name}': (T, K)}}\""
            )
        levels, steps = found
        return self.with_ladder(levels).with_steps(steps)

    def with_steps(self, num_steps: int) -> Run:
        """This run with K chain steps a level when sampling; fewer ones longer, where the sampler knows how.

        Raises:
            ConfigurationError: K below 0, or a sampler without a number of steps.
        """
        short = copy.copy(self)
        short.generation = copy.copy(self.generation)
        lengthen = not self.method.schedule.steps_are_widths
        short.generation.sampler = self.generation.sampler.with_steps(num_steps, lengthen)
        return short
