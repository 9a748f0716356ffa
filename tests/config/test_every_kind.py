"""A class of every kind, written outside the project, is chosen by gin and used: no edit inside modules/."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import launch
from modules import runs
from modules.evaluation.evaluation import Evaluation
from modules.training.trainer import Trainer
from tests.test_contracts import LOSSES, SINGLE, TABLES

torch.set_num_threads(1)

RECOVERY = """\
include "base/train.gin"
NUM_STEPS = 3
BATCH_SIZE = 4
LANGEVIN_STEPS = 1
Trainer.method = @MyMethod()
MyMethod.energy = @MyEnergy()
MyMethod.initializer = @MyInitializer()
MyMethod.schedule = @MySchedule()
MyMethod.sampler = @MySampler()
MyMethod.shared_noise = True
MyMethod.energy_loss = @MyLoss()
MyMethod.initializer_loss = @MyCooperativeLoss()
MyMethod.warm_start = @MyWarmStart()
MyWarmStart.num_steps = 1
MyWarmStart.energy_start = 0
Trainer.data = @MyData()
Trainer.optimizers = {"energy": @MyOptimizer(), "initializer": @MyOptimizer()}
MyOptimizer.lr = 0.01
Trainer.ema = @MyEMA()
MyEMA.decay = 0.5
Trainer.guard = @MyGuard()
Trainer.best = @MyBest()
Trainer.runtime = @MyRuntime()
MyRuntime.trackers = [@MyTracker()]
Trainer.generation = @MyGeneration()
MyGeneration.sampler = @MySampler()
MyGeneration.guidance = @MyGuidance()
MyGeneration.inpainting = @MyInpainting()
Trainer.evaluation = @Evaluation()
Evaluation.metrics = [@MyMetric()]
Evaluation.extractor = @MyExtractor()
Evaluation.num = 4
Evaluation.every = 3
Trainer.sample_every = 3
Trainer.save_every = 3
Trainer.log_every = 1
Trainer.num_samples = 4
"""
WHOLE = (
    RECOVERY[: RECOVERY.index("MyMethod.shared_noise")].replace("MyMethod", "MyWholeMethod")
    + (RECOVERY[RECOVERY.index("Trainer.data") :])
)
ONE = """\
include "methods/one_energy.gin"
NUM_STEPS = 1
BATCH_SIZE = 4
RECOVERY_START = 0
SHAPE = (1, 4, 4)
NUM_CLASSES = 2
Trainer.data = @MyData()
Trainer.sample_every = 0
Trainer.best = None
Trainer.dequantize = False
NormalizedEnergy.energy = @MyEnergy()
OneEnergy.levels = @MyLevels()
OneEnergy.score = @MyScoreMatching()
OneEnergy.level_score = @MyLevelScore()
OneEnergy.fokker_planck = @MyFokkerPlanck()
OneEnergy.recovery = @MyContrast()
MyLevelScore.weight = 0.05
MyFokkerPlanck.weight = 1.0
MyFokkerPlanck.first_step = 0
MyFokkerPlanck.every = 1
MyContrast.weight = 1.0
MyContrast.first_step = 0
"""
SOURCE = Path(__file__).with_name("every_kind.py")


def _train(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.gin").write_text(text)
    words = ["--gin", str(folder / f"{name}.gin"), "--import", str(folder / "mine.py")]
    assert launch.main([*words, "--output", str(folder / name)]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The file, and a run of its classes."""
    folder = tmp_path_factory.mktemp("kinds")
    shutil.copy(SOURCE, folder / "mine.py")
    _train(folder, "recovery", RECOVERY)
    return folder


def _file(folder: Path):
    """The stranger's module, as the run imported it."""
    run = runs.load(folder / "recovery", imports=[str(folder / "mine.py")])
    return sys.modules[type(run.energy).__module__]


def test_a_class_of_each_kind_is_there(folder):
    """What the project's own tables list, but for what puts a run together."""
    mine = [value for value in vars(_file(folder)).values() if isinstance(value, type)]
    mine = [kind for kind in mine if kind.__name__.startswith("My")]
    kinds = {base for base, _ in TABLES} | set(LOSSES) | SINGLE - {Trainer, Evaluation}
    assert [kind.__name__ for kind in kinds if not any(issubclass(one, kind) for one in mine)] == []


def test_each_is_used(folder, capsys):
    mine = _file(folder)
    _train(folder, "whole", WHOLE)
    _train(folder, "one", ONE)
    rows = [json.loads(line) for line in (folder / "recovery" / "metrics.jsonl").read_text().splitlines()]
    assert any("brightness" in row for row in rows) and any(
        "skips" in row or "lr/energy" in row for row in rows
    )
    assert any(name.startswith("last_level") for row in rows for name in row)
    task = ["--run", str(folder / "recovery"), "--import", str(folder / "mine.py"), "--output"]
    for name, words in {
        "generate": ["--num", "2", "--steps", "1"],
        "chains": ["--num", "2", "--steps", "40", "--every", "1"],
        "inpaint": ["--num", "1", "--completions", "1"],
        "restore": ["--num", "1", "--map", "MyMap"],
        "detect": ["--num", "4", "--score", "MyScore", "--against", "uniform"],
        "evaluate": [],
    }.items():
        capsys.readouterr()
        assert launch.main(["--task", name, *task, str(folder / name), *words]) == 0, name
        if name in ("generate", "chains", "inpaint", "restore"):
            assert "by MySampler(num_steps=" in capsys.readouterr().out, name
    classes = {
        name for name, value in vars(mine).items() if name.startswith("My") and isinstance(value, type)
    }
    assert classes - mine.USED == set()
