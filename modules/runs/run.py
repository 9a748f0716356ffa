"""A run's objects with the weights of one checkpoint, and what can be drawn from them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modules import config
from modules.core.checks import ConfigurationError, DataError, check_choice, check_integer
from modules.data.base import Examples
from modules.evaluation.evaluation import Evaluation
from modules.features.base import Extractor
from modules.methods.base import Method
from modules.runs import composition, inpainting, interpolation, likelihood, restoration
from modules.runs.data_record import DataRecord, check_data, is_order_unsure
from modules.runs.folder import is_bound
from modules.runs.model import Model
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Sampled
from modules.sampling.inpainting import Inpainting
from modules.schedules.base import Schedule
from modules.storage import checkpoints
from modules.training.ema import EMA
from modules.training.kept import Kept, restore_kept
from modules.training.saved import load_weights


class Run(Model):
    """A run's objects with the weights of one checkpoint.

    Attributes:
        folder, config: where it lies, and its configuration.
        method: its networks hold the loaded weights, in eval mode, on the runtime's device.
        energy, initializer, schedule, generation, runtime, data: see Model.
        evaluation: what is measured of samples, where the run is configured with it. extractor: by which
            features, where it names any.
        step: of the checkpoint.
        recorded: what the data were when it was trained; None: it is from before that was kept.
        allow_changes: whether other data may stand in their place.
        parts: further components that `load` was asked for, by name.
    """

    inpaint = inpainting.inpaint
    interpolate = interpolation.interpolate
    log_prob = likelihood.log_prob
    restore = restoration.restore
    composed_with = composition.composed_with
    with_conditions = composition.with_conditions
    mixed_with = composition.mixed_with
    with_any = composition.with_any
    without = composition.without

    def __init__(
        self,
        folder: Path,
        built: config.Config,
        checkpoint: Path,
        weights: str,
        allow_changes: bool = False,
    ) -> None:
        check_choice("weights", weights, ("ema", "live"))
        self.recorded, self.allow_changes = DataRecord.read(folder), allow_changes
        self.folder, self.config = folder, built
        self.method: Method = built.value("Trainer.method")
        self.generation = built.value("Trainer.generation")
        if not is_bound(built, "Generation.inpainting"):
            self.generation.inpainting = Inpainting(self.method.shared_noise)
        self.data = built.value("Trainer.data")
        self.evaluation: Evaluation | None = (
            built.value("Trainer.evaluation") if is_bound(built, "Trainer.evaluation") else None
        )
        self.extractor: Extractor | None = (
            built.value("Evaluation.extractor") if is_bound(built, "Evaluation.extractor") else None
        )
        self.runtime = built.value("Trainer.runtime") if is_bound(built, "Trainer.runtime") else Runtime()
        self.runtime.place(self.method.requires_grad_(False).eval())
        tensors, state = checkpoints.load(checkpoint)
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
        self.step: int = state["step"]
        self.parts: dict[str, Any] = {}
        self.energy, self.initializer = self.method.energy, self.method.initializer

    @property
    def schedule(self) -> Schedule:
        """The method's: the levels that the networks were trained on."""
        return self.method.schedule

    @cached_property
    def class_names(self) -> list[str]:
        """As recorded when it was trained; without a record, those that are known without the files."""
        return self.data.class_names if self.recorded is None else self.recorded.class_names

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

    def with_steps(self, num_steps: int) -> Run:
        """This run with K chain steps a level when sampling, and the step-size factor m good for so few.

        Raises:
            ConfigurationError: K below 0, or a sampler other than Langevin.
        """
        check_integer("steps", num_steps, low=0)
        sampler = self.generation.sampler
        if not isinstance(sampler, Langevin):
            raise ConfigurationError(f"steps are those of Langevin; the run's sampler is {sampler!r}")
        short = copy.copy(self)
        short.generation = copy.copy(self.generation)
        short.generation.sampler = sampler.shortened(num_steps, not self.method.schedule.steps_are_widths)
        return short
