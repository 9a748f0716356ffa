"""How good samples are while training goes on: a picture, a distance to data, the run's metrics."""

from __future__ import annotations

import math
import time

import torch

from modules.core.checks import DataError
from modules.data.base import Examples
from modules.evaluation.evaluation import Evaluator
from modules.metrics.sliced_wasserstein import sliced_wasserstein
from modules.report.journal import read
from modules.report.pictures import save_samples, shown_levels
from modules.report.proposal_pictures import save_proposals
from modules.runtime.signals import SamplingStoppedError
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.sampling.indexed import sample
from modules.training.diary import Diary

WORSE = 1.5  # samples this many times as far from data as the run's best are worth a warning


class Inspection:
    """Samples of the averaged weights, always of the same seed, looked at and measured.

    Args:
        diary: of the run, where what is found is written.
        generation: how samples are drawn.
        evaluator: measures them; None: nothing does.
        examples: the data, for the distance to them.
        num_samples: of the picture and the distance.
    """

    def __init__(
        self,
        diary: Diary,
        generation: Generation,
        evaluator: Evaluator | None,
        examples: Examples,
        num_samples: int,
    ) -> None:
        self.diary, self.training, self.runtime = diary, diary.training, diary.runtime
        self.generation, self.evaluator, self.num_samples = generation, evaluator, num_samples
        self._best_distance = math.inf
        if self.runtime.is_main:
            for name in ("samples", "proposals"):
                (diary.folder / name).mkdir(parents=True, exist_ok=True)
            # two disjoint sets of data, spread over all of it: the yardstick for samples
            num = max(1, min(num_samples, len(examples) // 2))
            images, _ = examples.rows(torch.arange(2 * num) * len(examples) // (2 * num))
            self._reference = images[::2], images[1::2]
            for row in read(diary.journal.path):
                if "sample_distance" in row:
                    distance = max(row["sample_distance"], row["sample_distance_floor"])
                    self._best_distance = min(self._best_distance, distance)

    def sample(self) -> dict[str, float]:
        """A picture of the samples and, on the main process, their distance to data.

        Beside it a picture of what the newest step's chains made of their proposals. A signal to stop ends it
        without any.
        """
        with self.diary.aside():
            networks = self.training.method.models(self.training.ready_averages())
            classes = networks.energy.num_classes
            labels = torch.arange(self.num_samples) % classes if classes else None
            draw = Draw.of_seed(self.training.seed, self.num_samples, labels)
            try:
                chosen = shown_levels(networks.schedule.num_levels)
                drawn = sample(
                    self.generation, networks, draw, self.runtime, progress=True, only_levels=chosen
                )
            except SamplingStoppedError:  # the run is saved after its next step
                return {}
            if not self.runtime.is_main:
                return {}
            step, folder = self.training.num_steps_done, self.diary.folder
            path = folder / "samples" / f"step_{step:08d}.png"
            save_samples(drawn.x, drawn.levels, path, chosen)
            if self.diary.shown[0]:
                save_proposals(*self.diary.shown, folder / "proposals" / f"step_{step:08d}.png")
            here, there = self._reference
            x = drawn.x[: len(here)]
            if len(networks.energy.shape) == 3:
                x = x.clamp(-1, 1)
            distance, floor = sliced_wasserstein(x, here), sliced_wasserstein(there, here)
            self.diary.write({"sample_distance": distance, "sample_distance_floor": floor})
            self._best_distance = min(self._best_distance, max(distance, floor))
            if not distance <= WORSE * self._best_distance:  # a NaN warns too
                self.diary.say(
                    f"step {step}: samples lie {distance:.3g} from data, {self._best_distance:.3g} at best: "
                    "they have got worse, whatever the losses say; see curves.png and samples/"
                )
            return {"sample_distance": distance}

    def evaluate(self) -> dict[str, float]:
        """The values of the evaluator's metrics, on every process.

        No values where samples are not finite, or after a signal to stop: what that means for the run is not
        for its record to say.
        """
        assert self.evaluator is not None
        with self.diary.aside():
            began, step, method = time.monotonic(), self.training.num_steps_done, self.training.method
            networks = method.models(self.training.ready_averages())
            place = {"step": step, "weights": "ema"}
            try:
                measured = self.evaluator(self.generation, networks, self.training.seed, place, progress=True)
            except DataError as fault:  # samples that aren't finite; on every process
                self.diary.say(f"step {step}: not measured: {fault}")
                return {}
            except SamplingStoppedError:
                return {}
            if self.runtime.is_main:
                measured.write(self.diary.folder / "evaluations" / f"step_{step:08d}.json")
                self.diary.write({**measured.values, "evaluation_seconds": time.monotonic() - began})
            return measured.values
