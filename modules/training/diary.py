"""What a training run writes beside its checkpoints: numbers, curves, a progress bar."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from modules.core.types import LossOutput
from modules.report.curves import save_curves
from modules.report.journal import Journal
from modules.report.meters import LevelMeter
from modules.report.page import save_page
from modules.report.spectra import spectral_norms
from modules.training.state import Training

FIRST_CURVES = 10.0  # seconds from the start, before which there's little to see


class Diary:
    """A run's record, written as training goes.

    Args:
        folder: the run's.
        training: the state, at the step from which it goes on.
        num_steps, batch_size: of the run.

    Attributes:
        shown: samples of the newest batch by name, see LossOutput, and their levels.
    """

    def __init__(self, folder: Path, training: Training, num_steps: int, batch_size: int) -> None:
        self.folder, self.training, self.runtime = folder, training, training.runtime
        self._batch_size = batch_size
        self._started = self._logged = time.monotonic()
        self._logged_step = first_step = training.num_steps_done
        self._curves_due = self._started + FIRST_CURVES
        self._seconds_aside = 0.0
        self.shown: tuple[Mapping[str, torch.Tensor], torch.Tensor] = ({}, torch.empty(0))
        self._take_up()
        if self.runtime.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            self.journal = Journal(folder / "metrics.jsonl", first_step)
            self.runtime.start_trackers(folder, first_step)
        self.bar = tqdm(
            total=num_steps,
            initial=first_step,
            unit="step",
            disable=not self.runtime.is_main,
            mininterval=1,
        )

    def _forget(self) -> None:
        """Begin anew to collect what `log` writes."""
        self.meter = LevelMeter(self.training.method.schedule.num_levels, self.runtime.device)
        self._figures: Mapping[str, Any] = {}
        self._clipped: dict[str, list[int]] = {}  # steps that were clipped, and all

    def _take_up(self) -> None:
        """Go on to collect from where the state's step had come to, so that a row means the same after it."""
        self._forget()
        unlogged = self.training.unlogged
        # one a process, or its share of those of another number of processes
        for sums in unlogged["figures"][self.runtime.rank :: self.runtime.num_processes]:
            self.meter.load(sums)
        self._clipped = {name: list(counts) for name, counts in unlogged["clipped"].items()}

    def note_unlogged(self) -> None:
        """Have the state know what was collected since the last row, on all processes: before it is saved."""
        self.training.unlogged = {
            "figures": self.runtime.gather_objects([self.meter.state()]),
            "clipped": {name: list(counts) for name, counts in self._clipped.items()},
        }

    def watch(self, figures: Mapping[str, Any], outputs: list[LossOutput]) -> None:
        """Take note of a step's losses, norms and per-sample figures."""
        for output in outputs:
            self.meter.add(output.t, output.watch)
            self.shown = (output.shown, output.t)
        self._figures = figures
        for name, updater in self.training.updaters.items():
            limit = updater.rule.clip_norm
            if limit is not None and f"grad_norm/{name}" in figures:
                counts = self._clipped.setdefault(f"clipped/{name}", [0, 0])
                counts[0] += bool(figures[f"grad_norm/{name}"] > limit)
                counts[1] += 1
        self.bar.update()

    def log(self) -> None:
        """Write means since the last call by level, shares of clipped steps, the newest losses and norms."""
        training, figures = self.training, self._figures
        step = training.num_steps_done
        row = self.meter.read(self.runtime.sum)
        for name in [n for n in row if n.startswith("energy_positive")]:
            negative = row.get(name.replace("positive", "negative"))
            if negative is not None:
                row[name.replace("energy_positive", "gap")] = row[name] - negative
        mine = torch.tensor([float(value) for value in figures.values()], device=self.runtime.device)
        means = self.runtime.sum(mine) / self.runtime.num_processes
        row |= dict(zip(figures, means.tolist(), strict=True))
        row |= {name: clipped / steps for name, (clipped, steps) in self._clipped.items()}
        row |= spectral_norms(training.networks)
        row |= {"skips": training.num_skips, "rollbacks": training.num_rollbacks}
        self._forget()
        if not self.runtime.is_main:
            return
        now = time.monotonic()
        pace = (step - self._logged_step) / (now - self._logged - self._seconds_aside + 1e-9)
        row |= {"steps_per_second": pace, "images_per_second": pace * self._batch_size}
        self._logged, self._logged_step, self._seconds_aside = now, step, 0.0
        self.write(row)
        shown = _shown(row, training.method.bar)
        self.bar.set_postfix({name: f"{row[name]:.3g}" for name in shown}, refresh=False)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For what isn't training: its time is left out of the pace."""
        began = time.monotonic()
        yield
        self._seconds_aside += time.monotonic() - began

    def go_back(self, step: int) -> None:
        """Forget what was written after an earlier step, from which training goes on."""
        self._take_up()
        self._logged, self._logged_step, self._seconds_aside = time.monotonic(), step, 0.0
        if self.runtime.is_main:
            seconds = self.journal.seconds_before
            self.journal = Journal(self.journal.path, step)
            self.journal.seconds_before = seconds  # lost time is time too
            self.runtime.track_again(step)
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
            save_curves(self.journal.path, self.folder / "curves.png", self.training.method.panels)
            save_page(self.folder)
            self._curves_due = began + 50 * (time.monotonic() - began)

    def write(self, row: Mapping[str, float]) -> None:
        """Write numbers of the step just done, on the main process."""
        step, seconds = self.training.num_steps_done, self.journal.seconds_before
        seconds += time.monotonic() - self._started
        self.journal.write({"step": step, "seconds": round(seconds, 2), **row})
        self.runtime.track(row, step)

    def close(self) -> None:
        """End the bar and the trackers."""
        self.bar.close()
        self.runtime.end_trackers()


def _shown(row: Mapping[str, float], bar: tuple[str, ...]) -> list[str]:
    """What of a row stands beside the bar: what the method says, such as energies, and the losses.

    The energy's loss goes up and down with the gap, which says more; it is shown where there's no gap.
    """
    names = [name for name in bar if name in row]
    losses = [name for name in row if name.startswith("loss/") and name not in names]
    return names + [name for name in losses if name != "loss/energy" or "gap" not in names]
