"""The best step's checkpoint through faults: at no moment is there none, and of two the newer counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modules.core.checks import CheckpointWriteError
from modules.data.points import Checkerboard
from modules.energies.mlp import MLPEnergy
from modules.initializers.copy import CopyInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from modules.training.ema import EMA
from modules.training.optimizers import AdamW
from modules.training.state import Training
from modules.training.trainer import Trainer
from tests import faults

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def begun() -> tuple[Trainer, Training]:
    torch.manual_seed(0)
    energy = MLPEnergy((2,), width=4, depth=0)
    method = RecoveryLikelihood(energy, CopyInitializer((2,)), CosineSchedule(), Langevin(1), False)
    rules, runtime = {"energy": AdamW()}, Runtime(trackers=())
    generation = Generation(Langevin(1))
    trainer = Trainer(method, Checkerboard(length=8), rules, generation, 8, 4, runtime=runtime)
    return trainer, Training(method, rules, EMA(), runtime, 0)


def _save_best(begun: tuple[Trainer, Training], run: Path, step: int) -> None:
    """As when `step` was the best so far."""
    trainer, training = begun
    training.num_steps_done = step
    training.best = {"metric": "sample_distance", "value": 1 / step, "step": step}
    trainer.save_best(run, training, trainer.data.open())


def _names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_disk_that_is_full_leaves_the_best_before(begun, tmp_path: Path) -> None:
    _save_best(begun, tmp_path, 2)
    for operation in (1, 5):
        with pytest.raises(CheckpointWriteError), faults.at(operation):
            _save_best(begun, tmp_path, 4)
        assert _names(tmp_path) == ["best_step_00000002"]
        assert checkpoints.load(checkpoints.best(tmp_path))[1]["step"] == 2
    _save_best(begun, tmp_path, 4)
    assert _names(tmp_path) == ["best_step_00000004"]


class Died(BaseException):
    """Of the process."""


def test_death_between_the_new_best_and_the_end_of_the_old(begun, tmp_path, monkeypatch) -> None:
    _save_best(begun, tmp_path, 2)

    def die(*given) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "keep_best", die)
        with pytest.raises(Died):
            _save_best(begun, tmp_path, 4)
    assert _names(tmp_path) == ["best_step_00000002", "best_step_00000004"]
    # a run goes on from the newer, which knows that it is the best
    assert checkpoints.best(tmp_path) == checkpoints.latest(tmp_path) == checkpoints.best_path_of(tmp_path, 4)
    assert checkpoints.load(checkpoints.latest(tmp_path))[1]["best"]["step"] == 4
    _save_best(begun, tmp_path, 6)
    assert _names(tmp_path) == ["best_step_00000006"]
