"""What a training run writes beside its checkpoints: numbers, curves, pictures, a progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from modules.checks import DataError
from modules.data.base import Examples
from modules.metrics.sliced_wasserstein import sliced_wasserstein
from modules.report.curves import save_curves
from modules.report.journal import Journal
from modules.report.meters import LevelMeter
from modules.report.page import save_page
from modules.report.pictures import save_samples
from modules.sampling import sample
from modules.training import Training
from modules.types import LossOutput

if TYPE_CHECKING:
    from modules.trainer import Trainer

WORSE = 1.5  # samples this many times as far from data as the run's best are worth a warning


class Diary:
    """A run's record, written as training goes."""

    def __init__(self, trainer: Trainer, folder: Path, first_step: int, examples: Examples) -> None:
        self.trainer, self.folder, self.runtime = trainer, folder, trainer.runtime
        self.meter = LevelMeter(trainer.method.schedule.num_levels, self.runtime.device)
        self._started = self._logged = time.monotonic()
        self._logged_step = first_step
        self._sampling_seconds = 0.0
        self._best_distance = math.inf
        evaluation, num_classes = trainer.evaluation, trainer.method.energy.num_classes
        if evaluation is not None and evaluation.every:  # on all processes, before anything is written
            self._evaluator = evaluation.open(trainer.data, self.runtime, num_classes, examples)
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
            distance, floor = sliced_wasserstein(x, here), sliced_wasserstein(there, here)
            self._write(step, {"sample_distance": distance, "sample_distance_floor": floor})
            self._best_distance = min(self._best_distance, max(distance, floor))
            if not distance <= WORSE * self._best_distance:  # a NaN warns too
                self.bar.write(
                    f"step {step}: samples lie {distance:.3g} from data, {self._best_distance:.3g} at best: "
                    "they have got worse, whatever the losses say; see curves.png and samples/"
                )
        self._sampling_seconds += time.monotonic() - began

    def evaluate(self, training: Training) -> dict[str, float]:
        """Measure samples of the averaged weights by Trainer.evaluation; the values, on every process.

        No values where samples are not finite: whether that ends a run is not for its record to say.
        """
        began, trainer, step = time.monotonic(), self.trainer, training.num_steps_done
        models = trainer.method.models(training.ready_averages())
        place = {"step": step, "weights": "ema"}
        schedule, generation = trainer.method.schedule, trainer.generation
        try:
            measured = self._evaluator(generation, *models, schedule, trainer.seed, place)
        except DataError as fault:  # samples that aren't finite; on every process
            if self.runtime.is_main:
                self.bar.write(f"step {step}: not measured: {fault}")
            return {}
        if self.runtime.is_main:
            measured.write(self.folder / "evaluations" / f"step_{step:08d}.json")
            self._write(step, {**measured.values, "evaluation_seconds": time.monotonic() - began})
        self._sampling_seconds += time.monotonic() - began
        return measured.values

    def draw_curves(self) -> None:
        """Draw what was written so far, and put it on a page."""
        if self.runtime.is_main:
            save_curves(self.journal.path, self.folder / "curves.png")
            save_page(self.folder)

    def _write(self, step: int, row: Mapping[str, float]) -> None:
        seconds = self.journal.seconds_before + time.monotonic() - self._started
        self.journal.write({"step": step, "seconds": round(seconds, 2), **row})
        self.runtime.track(row, step)

    def close(self) -> None:
        """End the bar and the trackers."""
        self.bar.close()
        self.runtime.end_trackers()
