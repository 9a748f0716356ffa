"""The training loop: data in, steps, and at intervals what is logged, drawn and saved."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import gin

from modules.contracts.before import check_training
from modules.contracts.rows import check_rows
from modules.core.checks import (
    Check,
    CheckpointError,
    ConfigurationError,
    DivergenceError,
    check_attributes,
    check_bool,
    check_choice,
    check_instance,
    check_integer,
    optional,
)
from modules.data.base import Data, Examples
from modules.data.stream import TrainingStream
from modules.evaluation.evaluation import Evaluation
from modules.methods.base import Method
from modules.runtime.runtime import Runtime
from modules.sampling.generation import Generation
from modules.storage import checkpoints
from modules.storage.run_lock import run_lock
from modules.training import divergence
from modules.training.best import Best
from modules.training.diary import Diary
from modules.training.divergence import Divergence
from modules.training.ema import EMA
from modules.training.guards import Guard, RaiseOnDivergence
from modules.training.inspection import Inspection
from modules.training.optimizers import Optimizer, check_optimizers
from modules.training.recipe import leave_recipe
from modules.training.state import Training

_CHECKS: dict[str, Check] = {
    "method": partial(check_instance, kind=Method),
    "data": partial(check_instance, kind=Data),
    "optimizers": partial(check_instance, kind=dict),
    "generation": partial(check_instance, kind=Generation),
    "num_steps": partial(check_integer, low=1),
    "batch_size": partial(check_integer, low=1, high=2**24),
    "ema": partial(check_instance, kind=EMA),
    "runtime": partial(check_instance, kind=Runtime),
    "per_device_batch_size": optional(partial(check_integer, low=1)),
    "seed": partial(check_integer, low=0),
    "horizontal_flip": check_bool,
    "dequantize": check_bool,
    "num_workers": partial(check_integer, low=0, high=1024),
    "log_every": partial(check_integer, low=1),
    "sample_every": partial(check_integer, low=0),
    "save_every": partial(check_integer, low=1),
    "num_samples": partial(check_integer, low=1, high=2**20),
    "keep": partial(check_integer, low=1),
    "guard": partial(check_instance, kind=Guard),
    "best": optional(partial(check_instance, kind=Best)),
    "evaluation": optional(partial(check_instance, kind=Evaluation)),
}


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
        best: which step's checkpoint is kept as the best; None: none is.
        num_steps: optimizer steps of the whole run.
        batch_size: samples of a step, over all devices and micro-batches.
        per_device_batch_size: the largest micro-batch of a device; fewer than batch_size/processes
            accumulates gradients; None: no accumulation.
        seed: of data order, noise, dropout and samples.
        horizontal_flip, dequantize, num_workers: of the data stream.
        log_every, sample_every, save_every: steps; 0 turns sampling off.
        evaluation: what is measured of samples every so many steps, by the averaged weights.
        num_samples: of a sample grid. keep: periodic checkpoints that stay.
        guard: what is done about a step that diverges; None: RaiseOnDivergence().
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
        dequantize: bool = False,
        num_workers: int = 0,
        log_every: int = 50,
        sample_every: int = 1000,
        save_every: int = 1000,
        num_samples: int = 64,
        keep: int = 3,
        guard: Guard | None = None,
        best: Best | None = None,
        evaluation: Evaluation | None = None,
    ) -> None:
        self.method, self.data, self.optimizers, self.generation = method, data, optimizers, generation
        self.num_steps, self.batch_size, self.seed = num_steps, batch_size, seed
        self.per_device_batch_size = per_device_batch_size
        self.horizontal_flip, self.dequantize, self.num_workers = horizontal_flip, dequantize, num_workers
        self.log_every, self.sample_every, self.save_every = log_every, sample_every, save_every
        self.num_samples, self.keep, self.best, self.evaluation = num_samples, keep, best, evaluation
        self.ema = EMA() if ema is None else ema
        self.runtime = Runtime() if runtime is None else runtime
        self.guard = RaiseOnDivergence() if guard is None else guard
        check_attributes(self, _CHECKS)
        self._check_together()

    def _check_together(self) -> None:
        """Raise unless the parts fit each other."""
        method, data, best, evaluation = self.method, self.data, self.best, self.evaluation
        check_optimizers(method.networks(), self.optimizers)
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
        if best is not None:
            names = ["sample_distance", *(evaluation.values if evaluation and evaluation.every else [])]
            check_choice("Best.metric, given what Trainer.evaluation measures,", best.metric, names)

    def stream(self, examples: Examples) -> TrainingStream:
        """The training data in their order."""
        return TrainingStream(
            examples, self.batch_size, self.seed, self.horizontal_flip, self.num_workers, self.dequantize
        )

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

    def train(
        self,
        folder: Path,
        resume: Path | None = None,
        allow_inexact: bool = False,
        examples: Examples | None = None,
    ) -> Training:
        """Train to num_steps in a run folder, from its start or from a checkpoint.

        A folder without a configuration gets one that rebuilds this trainer, or a line of why it can't.

        Args:
            folder: made if need be; nobody else may be writing there.
            resume: the folder of a checkpoint.
            allow_inexact: go on from a checkpoint that lacks a part of the state.
            examples: of the data set, where it is open already.

        Returns:
            the final state; one that a signal stopped has done fewer than num_steps, and is saved.

        Raises:
            DataError, CheckpointError, ConfigurationError: before the first step.
            DivergenceError: where the guard gives up; the newest checkpoint is from before.
            PeerError: another process died.
        """
        with self.runtime.threads():
            return self._train(folder, resume, allow_inexact, examples)

    def _train(
        self, folder: Path, resume: Path | None, allow_inexact: bool, examples: Examples | None
    ) -> Training:
        rows = self.micro_rows()
        examples = self.data.open() if examples is None else examples
        seen = check_rows(self.data, examples)
        stream = self.stream(examples)
        training = Training(
            self.method,
            self.optimizers,
            self.ema,
            self.runtime,
            self.seed,
            max_energy=self.guard.max_energy,
            components={
                "generation": self.generation,
                "ema": self.ema,
                "guard": self.guard,
                "data": self.data,
                **{f"{name}_rule": rule for name, rule in self.optimizers.items()},
            },
        )
        if resume is not None:
            training.restore(*checkpoints.load(resume), allow_inexact)
        others = (*self.optimizers.values(), self.guard, self.ema, self.evaluation)
        fresh = resume is None
        check_training(self.method, self.generation, seen, self.runtime, fresh=fresh, others=others)
        precisions = sorted(set(self.runtime.gather_objects([self.runtime.precision])))
        if len(precisions) > 1:
            raise ConfigurationError(
                f"the processes took different precisions, {' and '.join(map(repr, precisions))}: set "
                "Runtime.precision to one of them"
            )
        steps = self.runtime.gather_objects([training.num_steps_done])
        if len(set(steps)) > 1:
            raise CheckpointError(
                f"the processes would go on from steps {', '.join(map(str, steps))}: they must all see the "
                f"same files in {folder}: put it on a disk that they share"
            )
        with run_lock(folder) if self.runtime.is_main else nullcontext():
            self._loop(folder, training, stream, examples, rows)
        return training

    def _loop(
        self, folder: Path, training: Training, stream: TrainingStream, examples: Examples, rows: list[range]
    ) -> None:
        """The steps that are left, and what happens beside them."""
        evaluator = None
        if self.evaluation and self.evaluation.every:  # on all processes, before anything is written
            num_classes = self.method.energy.num_classes
            evaluator = self.evaluation.open(self.data, self.runtime, num_classes, examples)
        untold = leave_recipe(folder, self) if self.runtime.is_main else None
        diary = Diary(folder, training, self.num_steps, self.batch_size)
        try:
            if untold:
                diary.say(f"{folder} won't load by its name: {untold}. Sample it by Run(...).take_weights")
            inspection = Inspection(diary, self.generation, evaluator, examples, self.num_samples)
            with self.runtime.signals.noted():
                if self.guard.goes_back and self.runtime.any(not checkpoints.of_run(folder)):
                    self.save(folder, training, examples)
                while training.num_steps_done < self.num_steps and not training.stop_code:
                    self._advance(training, stream, rows, inspection)
        finally:
            diary.close()

    def _advance(
        self, training: Training, stream: TrainingStream, rows: list[range], inspection: Inspection
    ) -> None:
        """Train until the end, a signal, or a divergence after which training goes on from another step."""
        diary, folder = inspection.diary, inspection.diary.folder
        with closing(stream.iterate(training.num_steps_done, rows)) as data:
            while training.num_steps_done < self.num_steps and not training.stop_code:
                try:
                    figures, outputs = training.step(next(data), rows)
                    diary.watch(figures, outputs)
                except Divergence as fault:
                    remedy = self.guard.remedy(training, folder)
                    self._report(fault, remedy, stream, diary)
                    if training.num_steps_done <= fault.step:
                        return diary.go_back(training.num_steps_done)
                done, stopping = training.num_steps_done, bool(training.stop_code)
                if self.is_due(self.log_every, done):
                    diary.log()
                measured: dict[str, float] = {}
                if self.is_due(self.sample_every, done) and not stopping:
                    measured |= inspection.sample()
                if self.evaluation and self.is_due(self.evaluation.every, done) and not stopping:
                    measured |= inspection.evaluate()
                if stopping or any(self.is_due(every, done) for every in self._saving()):
                    diary.note_unlogged()
                if self.best and self.best.metric in measured:
                    training.best = self.best.after(training.best, done, measured[self.best.metric])
                if training.is_best and self.runtime.is_main:  # first: what is saved below says it is kept
                    self.save_best(folder, training, stream.examples)
                if self.is_due(self.save_every, done) or stopping:
                    self.save(folder, training, stream.examples)
                if self.is_due(self.sample_every, done) or self.is_due(self.save_every, done):
                    diary.draw_curves(last=done == self.num_steps)
        return None

    def _report(self, fault: Divergence, remedy: str | None, stream: TrainingStream, diary: Diary) -> None:
        """Keep what is known of a divergence. Raises DivergenceError where there's no remedy."""
        path = divergence.path_of(diary.folder, fault)
        if self.runtime.is_main:
            indices = stream.indices(fault.step, range(self.batch_size)).tolist()
            divergence.save(path, fault, indices, remedy or "stopped")
        what = f"training diverged at step {fault.step + 1}: {fault.reason} (see {path})"
        if remedy is None:
            diary.draw_curves(last=True)
            raise DivergenceError(f"{what}; {self.guard.exhausted}. What to turn: docs/training.md")
        diary.say(f"{what}: {remedy}")

    def is_due(self, every: int, step: int) -> bool:
        """Whether what happens every so many steps, and at the end, happens after `step` steps; 0: never."""
        return every > 0 and (step % every == 0 or step == self.num_steps)

    def _saving(self) -> list[int]:
        """How often a checkpoint may be saved: whether a step is the best, the main process alone knows."""
        return [self.save_every, self.sample_every, self.evaluation.every if self.evaluation else 0]

    def save(self, folder: Path, training: Training, examples: Examples) -> None:
        """Write a checkpoint, then delete the ones beyond `keep`."""
        training.check_alike()
        if self.runtime.is_main:
            training.complete(examples)
            path = checkpoints.path_of(folder, training.num_steps_done)
            checkpoints.save(path, training.tensors(), training.numbers())
            checkpoints.prune(folder, self.keep)
        self.runtime.wait()

    def save_best(self, folder: Path, training: Training, examples: Examples) -> None:
        """Write the checkpoint of the best step so far, then delete the one before; on the main process."""
        training.complete(examples)
        step = training.num_steps_done
        checkpoints.save(checkpoints.best_path_of(folder, step), training.tensors(), training.numbers())
        checkpoints.keep_best(folder, step)
