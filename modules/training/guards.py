"""What a run does about a step that diverges: a NaN, an infinity, or energies that explode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import gin

from modules.core.checks import check_integer, check_number
from modules.storage import checkpoints
from modules.training.state import Training


class Guard(ABC):
    """A policy; all processes follow it alike, before the step's optimizers have changed anything.

    Args:
        max_energy: the mean |E| of data and chains of a step above which energies have exploded. A bound
            without memory, the same at each step: healthy energies stay below 10 in the shipped runs that
            were tried, while exploding ones grow by factors of 10 to 1000 a step (docs/training.md).
    """

    goes_back = False  # whether a checkpoint is needed from the first step on
    exhausted: str  # why `remedy` gave none

    def __init__(self, max_energy: float = 1e4) -> None:
        check_number(f"{type(self).__name__}.max_energy", max_energy, above=0)
        self.max_energy = max_energy

    @abstractmethod
    def remedy(self, training: Training, run: Path) -> str | None:
        """Make the state fit to go on, and say how in a few words; None: nothing more is allowed."""


@gin.register
class RaiseOnDivergence(Guard):
    """Stop the run; its newest checkpoint is from before. `max_energy`: see Guard."""

    exhausted = "its guard allows none; @SkipStep() and @Rollback() go on (Trainer.guard)"

    def remedy(self, training: Training, run: Path) -> str | None:
        """None."""
        return None


@gin.register
class SkipStep(Guard):
    """Leave the step out, and count it: for a rare bad batch; `max_energy`: see Guard.

    Args:
        max_skips: of a whole run.
    """

    def __init__(self, max_skips: int = 10, max_energy: float = 1e4) -> None:
        super().__init__(max_energy)
        check_integer("SkipStep.max_skips", max_skips, low=1)
        self.max_skips = max_skips
        self.exhausted = f"{max_skips} steps were skipped before (SkipStep.max_skips)"

    def remedy(self, training: Training, run: Path) -> str | None:
        """Weights, averages and optimizers stay; power-iteration vectors have moved on, as in any step."""
        if training.num_skips >= self.max_skips:
            return None
        training.skip()
        return f"skipped, number {training.num_skips} of at most {self.max_skips}"


@gin.register
class Rollback(Guard):
    """Return to the newest checkpoint, and go on with other noise and smaller steps.

    The noise of rollback n is a stream of its own, the data's order stays. Learning rates are multiplied by
    lr_factor each time, since a rate that is too large would diverge again. Where nothing was saved since the
    last rollback, that one's checkpoint may have been on its way to divergence: it returns to the one before.
    `max_energy`: see Guard.

    Args:
        max_rollbacks: of a whole run.
        lr_factor: in (0, 1]; 1 changes the noise alone.
    """

    goes_back = True

    def __init__(self, max_rollbacks: int = 10, lr_factor: float = 0.5, max_energy: float = 1e4) -> None:
        super().__init__(max_energy)
        check_integer("Rollback.max_rollbacks", max_rollbacks, low=1)
        check_number("Rollback.lr_factor", lr_factor, above=0, high=1)
        self.max_rollbacks, self.lr_factor = max_rollbacks, lr_factor
        self.exhausted = f"{max_rollbacks} rollbacks were made before (Rollback.max_rollbacks)"

    def remedy(self, training: Training, run: Path) -> str | None:
        """The checkpoint's state, but for the count and the learning rates' factor."""
        count, factor = training.num_rollbacks + 1, self.lr_factor * training.lr_factor
        if count > self.max_rollbacks:
            return None
        step_of = checkpoints.step_of
        found = [path for path in checkpoints.of_run(run) if step_of(path) <= training.num_steps_done]
        again = len(found) > 1 and step_of(found[-1]) == training.rolled_back_to
        training.restore(*checkpoints.load(found[-2] if again else found[-1]))
        training.num_rollbacks, training.lr_factor = count, factor
        training.rolled_back_to = training.num_steps_done
        self._record(training, run)
        return (
            f"back to step {training.num_steps_done}, learning rates x {factor:g}, "
            f"number {count} of at most {self.max_rollbacks}"
        )

    @staticmethod
    def _record(training: Training, run: Path) -> None:
        """Drop the periodic checkpoints of the way that was left; save the count before a crash loses it."""
        training.runtime.wait()  # all have read what they go back to
        if training.runtime.is_main:
            step = training.num_steps_done
            checkpoints.drop_after(run, step)
            checkpoints.save(checkpoints.path_of(run, step), training.tensors(), training.numbers())
        training.runtime.wait()
