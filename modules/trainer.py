"""The training loop: data in, steps, and at intervals what is logged, drawn and saved."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gin
import torch
from tqdm.auto import tqdm

from modules import checkpoints
from modules.checks import ConfigurationError, check_bool, check_instance, check_integer
from modules.data.base import Data, Examples
from modules.data.stream import TrainingStream
from modules.ema import EMA
from modules.generation import Generation
from modules.methods.base import Method
from modules.optimizers import Optimizer
from modules.report.curves import save_curves
from modules.report.journal import Journal
from modules.report.meters import LevelMeter
from modules.report.pictures import save_samples
from modules.report.watch import sliced_wasserstein
from modules.runtime import Runtime
from modules.sampling import sample
from modules.training import Training, check_optimizers
from modules.types import LossOutput


@gin.register
class Trainer:
    """A run: what is trained, on what, how long, and what is kept of it.

    Args:
        method: the training method with its networks.
        data: the data set.
        optimizers: an Optimizer for each network of the method, by name ("energy", "initializer").
        generation: how samples are drawn, during training and after.
        ema: averages of the weights.
        runtime: devices, precision, trackers.
        num_steps: optimizer steps of the whole run.
        batch_size: samples of a step, over all devices and micro-batches.
        per_device_batch_size: the largest micro-batch of a device; fewer than batch_size/processes
            accumulates gradients; None: no accumulation.
        seed: of data order, noise, dropout and samples.
        horizontal_flip, num_workers: of the data stream.
        log_every, sample_every, save_every: steps; 0 turns sampling off.
        num_samples: of a sample grid. keep: periodic checkpoints that stay.
    """

    def __init__(
        self,
        method: Method,
        data: Data,
        optimizers: Mapping[str, Optimizer],
        generation: Generation,
        num_steps: int,
        batch_size: int,
        ema: EMA | None = None,
        runtime: Runtime | None = None,
        per_device_batch_size: int | None = None,
        seed: int = 0,
        horizontal_flip: bool = False,
        num_workers: int = 0,
        log_every: int = 50,
        sample_every: int = 1000,
        save_every: int = 1000,
        num_samples: int = 64,
        keep: int = 3,
    ) -> None:
        check_instance("Trainer.method", method, Method)
        check_instance("Trainer.data", data, Data)
        check_instance("Trainer.optimizers", optimizers, dict)
        check_optimizers(method.networks(), optimizers)
        check_instance("Trainer.generation", generation, Generation)
        check_instance("Trainer.ema", ema, (EMA, type(None)))
        check_instance("Trainer.runtime", runtime, (Runtime, type(None)))
        check_integer("Trainer.num_steps", num_steps, low=1)
        check_integer("Trainer.batch_size", batch_size, low=1)
        check_integer("Trainer.seed", seed, low=0)
        check_bool("Trainer.horizontal_flip", horizontal_flip)
        check_integer("Trainer.num_workers", num_workers, low=0)
        for name, value in (("log_every", log_every), ("save_every", save_every), ("keep", keep)):
            check_integer(f"Trainer.{name}", value, low=1)
        check_integer("Trainer.sample_every", sample_every, low=0)
        check_integer("Trainer.num_samples", num_samples, low=1)
        if per_device_batch_size is not None:
            check_integer("Trainer.per_device_batch_size", per_device_batch_size, low=1)
        if data.shape != method.energy.shape:
            raise ConfigurationError(
                f"the data has shape {data.shape}, the energy {method.energy.shape}: set SHAPE for both"
            )
        if method.initializer.shape != method.energy.shape:
            raise ConfigurationError(
                f"the initializer has shape {method.initializer.shape}, the energy {method.energy.shape}: "
                "set SHAPE for both"
            )
        num_classes = method.energy.num_classes  # 0: labels of the data are ignored
        if num_classes not in (0, data.num_classes):
            raise ConfigurationError(
                f"the data gives {data.num_classes} classes, the energy has {num_classes}: "
                "set NUM_CLASSES for both"
            )
        if "initializer" in method.networks() and method.initializer.num_classes != num_classes:
            raise ConfigurationError(
                f"the initializer has {method.initializer.num_classes} classes, the energy {num_classes}: "
                "set NUM_CLASSES for both"
            )
        self.method, self.data, self.optimizers, self.generation = method, data, optimizers, generation
        self.ema, self.runtime = ema or EMA(), runtime or Runtime()
        self.num_steps, self.batch_size, self.per_device_batch_size = (
            num_steps,
            batch_size,
            per_device_batch_size,
        )
        self.seed, self.horizontal_flip, self.num_workers = seed, horizontal_flip, num_workers
        self.log_every, self.sample_every, self.save_every = log_every, sample_every, save_every
        self.num_samples, self.keep = num_samples, keep

    def micro_rows(self) -> list[range]:
        """This process's rows of each global batch, one range a micro-batch of equal size."""
        processes, rank = self.runtime.num_processes, self.runtime.rank
        if self.batch_size % processes:
            raise ConfigurationError(
                f"Trainer.batch_size {self.batch_size} is not divisible by {processes} processes"
            )
        share = self.batch_size // processes
        size = min(share, self.per_device_batch_size or share)
        if share % size:
            raise ConfigurationError(
                f"Trainer.per_device_batch_size {size} doesn't divide the {share} samples of a device "
                f"(batch_size {self.batch_size} over {processes} processes)"
            )
        return [range(rank * share + i, rank * share + i + size) for i in range(0, share, size)]

    def train(self, folder: Path, resume: Path | None = None) -> Training:
        """Train to num_steps in a run folder, from its start or from a checkpoint.

        Args:
            folder: made if need be.
            resume: the folder of a checkpoint.

        Returns:
            the final state.

        Raises:
            DataError, CheckpointError, ConfigurationError: before the first step.
        """
        rows = self.micro_rows()
        examples = self.data.open()
        stream = TrainingStream(examples, self.batch_size, self.seed, self.horizontal_flip, self.num_workers)
        training = Training(self.method, self.optimizers, self.ema, self.runtime, self.seed)
        if resume is not None:
            training.restore(*checkpoints.load(resume))
        first = training.num_steps_done
        diary = Diary(self, folder, first, examples)
        try:
            for batches in stream.iterate(first, rows):
                if training.num_steps_done >= self.num_steps:
                    break
                figures, outputs = training.step(batches, rows)
                done = training.num_steps_done
                diary.watch(outputs)
                if self.is_due(self.log_every, done):
                    diary.log(done, figures)
                if self.is_due(self.sample_every, done):
                    diary.sample(training)
                if self.is_due(self.save_every, done):
                    self.save(folder, training)
                if self.is_due(self.sample_every, done) or self.is_due(self.save_every, done):
                    diary.draw_curves()
        finally:
            diary.close()
        return training

    def is_due(self, every: int, step: int) -> bool:
        """Whether what happens every so many steps, and at the end, happens after `step` steps; 0: never."""
        return every > 0 and (step % every == 0 or step == self.num_steps)

    def save(self, folder: Path, training: Training) -> None:
        """Write a checkpoint, then delete the ones beyond `keep`."""
        if self.runtime.is_main:
            path = checkpoints.path_of(folder, training.num_steps_done)
            checkpoints.save(path, training.tensors(), training.numbers())
            checkpoints.prune(folder, self.keep)
        self.runtime.wait()


class Diary:
    """What a run writes beside its checkpoints: numbers, curves, pictures, a progress bar."""

    def __init__(self, trainer: Trainer, folder: Path, first_step: int, examples: Examples) -> None:
        self.trainer, self.folder, self.runtime = trainer, folder, trainer.runtime
        self.meter = LevelMeter(trainer.method.schedule.num_levels, self.runtime.device)
        self._started = self._logged = time.monotonic()
        self._logged_step = first_step
        self._sampling_seconds = 0.0
        if self.runtime.is_main:
            (folder / "samples").mkdir(parents=True, exist_ok=True)
            self._reference = self._data_samples(examples)
            self.journal = Journal(folder / "metrics.jsonl", first_step)
            self.runtime.start_trackers(folder)
        self.bar = tqdm(
            total=trainer.num_steps,
            initial=first_step,
            unit="step",
            disable=not self.runtime.is_main,
            mininterval=1,
        )

    def _data_samples(self, examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
        """Two disjoint sets of data, spread over all of it: the yardstick for samples."""
        num = max(1, min(self.trainer.num_samples, len(examples) // 2))
        images, _ = examples.rows(torch.arange(2 * num) * len(examples) // (2 * num))
        return images[::2], images[1::2]

    def watch(self, outputs: list[LossOutput]) -> None:
        """Take note of a step's per-sample figures."""
        for output in outputs:
            self.meter.add(output.t, output.watch)
        self.bar.update()

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """Write the per-sample figures' means since the last call, and the newest losses and norms."""
        row = self.meter.read(self.runtime.sum)
        for name in [n for n in row if n.startswith("energy_positive")]:
            negative = row.get(name.replace("positive", "negative"), math.nan)
            row[name.replace("energy_positive", "gap")] = row[name] - negative
        mine = torch.tensor([float(value) for value in figures.values()], device=self.runtime.device)
        means = self.runtime.sum(mine) / self.runtime.num_processes
        row |= dict(zip(figures, means.tolist(), strict=True))
        if not self.runtime.is_main:
            return
        now = time.monotonic()
        pace = (step - self._logged_step) / (now - self._logged - self._sampling_seconds + 1e-9)
        row |= {"steps_per_second": pace, "images_per_second": pace * self.trainer.batch_size}
        self._logged, self._logged_step, self._sampling_seconds = now, step, 0.0
        self._write(step, row)
        shown = ("energy_positive", "energy_negative", "gap", "loss/initializer")
        self.bar.set_postfix({k.split("/")[-1]: f"{row[k]:.3g}" for k in shown if k in row}, refresh=False)

    def sample(self, training: Training) -> None:
        """Draw fixed seeds with the averaged weights: a picture, and the distance to data."""
        began = time.monotonic()
        trainer = self.trainer
        models = trainer.method.models(training.ready_averages())
        num_classes = models[0].num_classes
        labels = torch.arange(trainer.num_samples) % num_classes if num_classes else None
        drawn = sample(
            trainer.generation,
            *models,
            trainer.method.schedule,
            trainer.num_samples,
            labels,
            trainer.seed,
            self.runtime,
        )
        if self.runtime.is_main:
            step = training.num_steps_done
            save_samples(drawn.x, drawn.levels, self.folder / "samples" / f"step_{step:08d}.png")
            here, there = self._reference
            x = drawn.x[: len(here)]
            if len(trainer.data.shape) == 3:
                x = x.clamp(-1, 1)
            row = {
                "sample_distance": sliced_wasserstein(x, here),
                "sample_distance_floor": sliced_wasserstein(there, here),
            }
            self._write(step, row)
        self._sampling_seconds += time.monotonic() - began

    def draw_curves(self) -> None:
        """Draw what was written so far."""
        if self.runtime.is_main:
            save_curves(self.journal.path, self.folder / "curves.png")

    def _write(self, step: int, row: Mapping[str, float]) -> None:
        seconds = self.journal.seconds_before + time.monotonic() - self._started
        self.journal.write({"step": step, "seconds": round(seconds, 2), **row})
        self.runtime.track(row, step)

    def close(self) -> None:
        """End the bar and the trackers."""
        self.bar.close()
        self.runtime.end_trackers()
