"""What a training run writes beside its checkpoints: numbers, curves, pictures, a progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from modules.core.checks import DataError
from modules.core.types import LossOutput
from modules.data.base import Examples
from modules.metrics.sliced_wasserstein import sliced_wasserstein
from modules.report.curves import save_curves
from modules.report.journal import Journal, read
from modules.report.meters import LevelMeter
from modules.report.page import save_page
from modules.report.pictures import save_samples
from modules.report.proposal_pictures import save_proposals
from modules.report.spectra import spectral_norms
from modules.runtime.signals import SamplingStoppedError
from modules.sampling.indexed import sample
from modules.training.state import Training

if TYPE_CHECKING:
    from modules.training.trainer import Trainer

FIRST_CURVES = 10.0  # seconds from the start, before which there's little to see
WORSE = 1.5  # samples this many times as far from data as the run's best are worth a warning


class Diary:
    """A run's record, written as training goes."""

    def __init__(self, trainer: Trainer, folder: Path, first_step: int, examples: Examples) -> None:
        self.trainer, self.folder, self.runtime = trainer, folder, trainer.runtime
        self._started = self._logged = time.monotonic()
        self._logged_step = first_step
        self._curves_due = self._started + FIRST_CURVES
        self._sampling_seconds = 0.0
        self._best_distance = math.inf
        self._shown: tuple[Mapping[str, torch.Tensor], torch.Tensor] = ({}, torch.empty(0))
        self._forget()
        evaluation, num_classes = trainer.evaluation, trainer.method.energy.num_classes
        if evaluation is not None and evaluation.every:  # on all processes, before anything is written
            self._evaluator = evaluation.open(trainer.data, self.runtime, num_classes, examples)
        if self.runtime.is_main:
            for name in ("samples", "proposals"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            self._reference = self._data_samples(examples)
            self.journal = Journal(folder / "metrics.jsonl", first_step)
            for row in read(self.journal.path):
                if "sample_distance" in row:
                    distance = max(row["sample_distance"], row["sample_distance_floor"])
                    self._best_distance = min(self._best_distance, distance)
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

    def _forget(self) -> None:
        """Begin anew to collect what `log` writes."""
        self.meter = LevelMeter(self.trainer.method.schedule.num_levels, self.runtime.device)
        self._figures: Mapping[str, Any] = {}
        self._clipped: dict[str, list[bool]] = {}

    def watch(self, figures: Mapping[str, Any], outputs: list[LossOutput]) -> None:
        """Take note of a step's losses, norms and per-sample figures."""
        for output in outputs:
            self.meter.add(output.t, output.watch)
            self._shown = (output.shown, output.t)
        self._figures = figures
        for name, rule in self.trainer.optimizers.items():
            if rule.clip_norm is not None and f"grad_norm/{name}" in figures:
                steps = self._clipped.setdefault(f"clipped/{name}", [])
                steps.append(figures[f"grad_norm/{name}"] > rule.clip_norm)
        self.bar.update()

    def log(self, training: Training) -> None:
        """Write means since the last call by level, shares of clipped steps, the newest losses and norms."""
        step, figures = training.num_steps_done, self._figures
        row = self.meter.read(self.runtime.sum)
        for name in [n for n in row if n.startswith("energy_positive")]:
            negative = row.get(name.replace("positive", "negative"), math.nan)
            row[name.replace("energy_positive", "gap")] = row[name] - negative
        mine = torch.tensor([float(value) for value in figures.values()], device=self.runtime.device)
        means = self.runtime.sum(mine) / self.runtime.num_processes
        row |= dict(zip(figures, means.tolist(), strict=True))
        row |= {name: sum(steps) / len(steps) for name, steps in self._clipped.items()}
        row |= spectral_norms(training.networks)
        row |= {"skips": training.num_skips, "rollbacks": training.num_rollbacks}
        self._forget()
        if not self.runtime.is_main:
            return
        now = time.monotonic()
        pace = (step - self._logged_step) / (now - self._logged - self._sampling_seconds + 1e-9)
        row |= {"steps_per_second": pace, "images_per_second": pace * self.trainer.batch_size}
        self._logged, self._logged_step, self._sampling_seconds = now, step, 0.0
        self._write(step, row)
        shown = ("energy_positive", "energy_negative", "gap", "loss/initializer")
        self.bar.set_postfix({k.split("/")[-1]: f"{row[k]:.3g}" for k in shown if k in row}, refresh=False)

    def sample(self, training: Training) -> dict[str, float]:
        """Draw fixed seeds with the averaged weights: a picture and, on the main process, a distance to data.

        Beside it a picture of what the newest step's chains made of their proposals. A signal to stop ends it
        without any.
        """
        began = time.monotonic()
        trainer = self.trainer
        models = trainer.method.models(training.ready_averages())
        num_classes = models[0].num_classes
        labels = torch.arange(trainer.num_samples) % num_classes if num_classes else None
        try:
            drawn = sample(
                trainer.generation,
                *models,
                trainer.method.schedule,
                trainer.num_samples,
                labels,
                trainer.seed,
                self.runtime,
            )
        except SamplingStoppedError:  # the run is saved after its next step
            return {}
        measured: dict[str, float] = {}
        if self.runtime.is_main:
            step = training.num_steps_done
            name = f"step_{step:08d}.png"
            save_samples(drawn.x, drawn.levels, self.folder / "samples" / name)
            if self._shown[0]:
                save_proposals(*self._shown, self.folder / "proposals" / name)
            here, there = self._reference
            x = drawn.x[: len(here)]
            if len(trainer.data.shape) == 3:
                x = x.clamp(-1, 1)
            distance, floor = sliced_wasserstein(x, here), sliced_wasserstein(there, here)
            measured = {"sample_distance": distance}
            self._write(step, {**measured, "sample_distance_floor": floor})
            self._best_distance = min(self._best_distance, max(distance, floor))
            if not distance <= WORSE * self._best_distance:  # a NaN warns too
                self.say(
                    f"step {step}: samples lie {distance:.3g} from data, {self._best_distance:.3g} at best: "
                    "they have got worse, whatever the losses say; see curves.png and samples/"
                )
        self._sampling_seconds += time.monotonic() - began
        return measured

    def evaluate(self, training: Training) -> dict[str, float]:
        """Measure samples of the averaged weights by Trainer.evaluation; the values, on every process.

        No values where samples are not finite, or after a signal to stop: what that means for the run is not
        for its record to say.
        """
        began, trainer, step = time.monotonic(), self.trainer, training.num_steps_done
        models = trainer.method.models(training.ready_averages())
        place = {"step": step, "weights": "ema"}
        schedule, generation = trainer.method.schedule, trainer.generation
        try:
            measured = self._evaluator(generation, *models, schedule, trainer.seed, place)
        except DataError as fault:  # samples that aren't finite; on every process
            self.say(f"step {step}: not measured: {fault}")
            return {}
        except SamplingStoppedError:
            return {}
        if self.runtime.is_main:
            measured.write(self.folder / "evaluations" / f"step_{step:08d}.json")
            self._write(step, {**measured.values, "evaluation_seconds": time.monotonic() - began})
        self._sampling_seconds += time.monotonic() - began
        return measured.values

    def go_back(self, step: int) -> None:
        """Forget what was written after an earlier step, from which training goes on."""
        self._forget()
        self._logged, self._logged_step, self._sampling_seconds = time.monotonic(), step, 0.0
        if self.runtime.is_main:
            seconds = self.journal.seconds_before
            self.journal = Journal(self.journal.path, step)
            self.journal.seconds_before = seconds  # lost time is time too
        self.bar.n = step
        self.bar.refresh()

    def say(self, message: str) -> None:
        """Print a line beside the bar, once for all processes."""
        if self.runtime.is_main:
            self.bar.write(message)

    def draw_curves(self, last: bool) -> None:
        """Draw what was written so far; while training goes on, for a fiftieth of the time at most."""
        began = time.monotonic()
        if self.runtime.is_main and (last or began >= self._curves_due):
            save_curves(self.journal.path, self.folder / "curves.png")
            save_page(self.folder)
            self._curves_due = began + 50 * (time.monotonic() - began)

    def _write(self, step: int, row: Mapping[str, float]) -> None:
        seconds = self.journal.seconds_before + time.monotonic() - self._started
        self.journal.write({"step": step, "seconds": round(seconds, 2), **row})
        self.runtime.track(row, step)

    def close(self) -> None:
        """End the bar and the trackers."""
        self.bar.close()
        self.runtime.end_trackers()
