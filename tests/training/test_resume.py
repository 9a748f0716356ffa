"""Killed anywhere and resumed, a run ends as if it had never stopped: equal to the last bit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

import launch
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.storage import checkpoints
from modules.training.inspection import Inspection
from modules.training.trainer import Trainer
from tests import faults, forks
from tests.pairs import pair
from tests.tiny import ONE, TINY

torch.set_num_threads(1)

# 20 points in batches of 8 in micro-batches of 4: an epoch ends in the middle of step 3 and with step 5
POINTS = """\
include "data/checkerboard.gin"
include "methods/cdrl.gin"
include "methods/warm_start.gin"
NUM_STEPS = 8
BATCH_SIZE = 8
LANGEVIN_STEPS = 2
EMA_DECAY = 0.5
ENERGY_LR = 1e-2
INITIALIZER_LR = 1e-2
ENERGY_START = 1
WARM_STEPS = 6
Checkerboard.length = 20
RecoveryLikelihood.energy = @MLPEnergy()
MLPEnergy.shape = %SHAPE
MLPEnergy.width = 8
MLPEnergy.depth = 1
MLPEnergy.spectral_norm = True
RecoveryLikelihood.initializer = @MLPInitializer()
MLPInitializer.shape = %SHAPE
MLPInitializer.width = 8
MLPInitializer.depth = 1
energy/AdamW.warmup_steps = 5
Trainer.per_device_batch_size = 4
Trainer.log_every = 3
Trainer.sample_every = 3
Trainer.save_every = 1
Trainer.num_samples = 8
Trainer.keep = 9
Trainer.evaluation = @Evaluation()
Evaluation.metrics = [@SlicedWasserstein(), @ModeMass()]
Evaluation.extractor = @RawPixels()
Evaluation.num = 8
Evaluation.every = 4
Runtime.trackers = ()
"""
MEASURED = {"seconds", "steps_per_second", "images_per_second", "evaluation_seconds"}


def _dying(call, number: int, before: bool):
    """`call`, which kills the process before or after its call `number`."""
    count = 0

    def counted(*arguments, **options):
        nonlocal count
        count += 1
        if before and count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **options)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return counted


def train_and_die(words: list[str], where: str, number: int) -> int:
    """launch.main, killed at a place."""
    if where == "after a save":
        Trainer.save = _dying(Trainer.save, number, before=False)
    elif where == "before a micro-batch":
        for method in (RecoveryLikelihood, OneEnergy):
            method.forward = _dying(method.forward, number, before=True)
    elif where == "after a grid":
        Inspection.sample = _dying(Inspection.sample, number, before=False)
    elif where == "after an evaluation":
        Inspection.evaluate = _dying(Inspection.evaluate, number, before=False)
    elif where == "before a level of a grid":
        Generation.descend = _dying(Generation.descend, number, before=True)
    else:
        original = checkpoints.save

        def save(path, tensors, state):
            if state["step"] != number:
                return original(path, tensors, state)
            with faults.at(20, faults.death):
                return original(path, tensors, state)

        checkpoints.save = save
    return launch.main(words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, parent) -> Path:
    """A folder with gin files, and runs of them that were never stopped."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "points.gin").write_text(POINTS)
    text = TINY.replace("sample_every = 4", "sample_every = 2").replace("save_every = 2", "save_every = 1")
    (folder / "images.gin").write_text(text)
    text = ONE.replace("sample_every = 4", "sample_every = 2").replace("save_every = 2", "save_every = 1")
    (folder / "one.gin").write_text(text)
    for name in ("points", "images", "one"):
        _call(parent, folder, "launch:main", [["--gin", f"{name}.gin", "--output", name]])
    return folder


def _call(parent: forks.Parent, folder: Path, function: str, arguments: list, code: int = 0) -> None:
    log = folder / "log"
    log.unlink(missing_ok=True)
    assert parent.run(function, arguments, folder, log) == code, log.read_text()


def _rows(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def _assert_same_run(one: Path, other: Path) -> None:
    """Checkpoints, best step, numbers and pictures."""
    for path in (checkpoints.latest, checkpoints.best):
        _assert_same_state(path(one), path(other))
        assert path(one).name == path(other).name
    assert _rows(one) == _rows(other)
    pictures = sorted(path.name for path in (one / "samples").iterdir())
    assert pictures == sorted(path.name for path in (other / "samples").iterdir()) and pictures
    for name in pictures:
        assert (one / "samples" / name).read_bytes() == (other / "samples" / name).read_bytes(), name


def _assert_same_state(one: Path, other: Path, but: frozenset[str] = frozenset()) -> None:
    (ours, state), (theirs, other_state) = checkpoints.load(one), checkpoints.load(other)
    assert {k: v for k, v in state.items() if k not in but} == {
        k: v for k, v in other_state.items() if k not in but
    }
    assert ours.keys() == theirs.keys()
    for group in ours:
        assert ours[group].keys() == theirs[group].keys()
        for name, value in ours[group].items():
            assert torch.equal(value, theirs[group][name]), f"{group}/{name}"


KILLS = {  # gin file, place, its number, the step to go on from (0: none was saved)
    "before the first save": ("points", "before a micro-batch", 2, 0),
    "after step 1, in the warm start": ("points", "after a save", 1, 1),
    "after the saves of a best step": ("points", "after a save", 8, 8),
    "in the warm-up of the rate, mid-epoch": ("points", "after a save", 2, 2),
    "at the end of an epoch": ("points", "after a save", 5, 5),
    "between two micro-batches": ("points", "before a micro-batch", 12, 5),
    "right after a grid": ("points", "after a grid", 2, 5),
    "right after an evaluation": ("points", "after an evaluation", 1, 3),
    "in the midst of an evaluation": ("points", "before a level of a grid", 9, 3),
    "in the midst of sampling": ("points", "before a level of a grid", 15, 5),
    "in the midst of saving": ("points", "in a save", 6, 5),
    "with dropout and convolutions": ("images", "before a micro-batch", 4, 3),
    "one energy, as its chains begin": ("one", "before a micro-batch", 3, 2),
}


SLOW = {
    "before the first save",
    "in the midst of an evaluation",
    "in the midst of sampling",
    "in the midst of saving",
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case in SLOW else ()) for case in KILLS]
)
def test_killed_and_resumed(folder, parent, tmp_path, case):
    name, where, number, step = KILLS[case]
    run = tmp_path / "run"
    words = ["--gin", f"{name}.gin", "--output", str(run)]
    _call(parent, folder, "tests.training.test_resume:train_and_die", [words, where, number], code=-9)
    if step:
        assert checkpoints.step_of(checkpoints.latest(run)) == step
    resume = ["--resume"] if step else []
    _call(parent, folder, "launch:main", [[*words, *resume]])
    _assert_same_run(run, folder / name)


def test_a_best_step_is_part_of_the_state(folder):
    """Else the comparisons above would compare nothing."""
    _, state = checkpoints.load(checkpoints.latest(folder / "points"))
    rows = [row for row in _rows(folder / "points") if "sample_distance" in row]
    distances = {row["step"]: row["sample_distance"] for row in rows}
    assert list(distances) == [3, 6, 8]
    step = min(distances, key=distances.get)
    assert state["best"]["step"] == step == checkpoints.step_of(checkpoints.best(folder / "points"))
    assert state["best"]["value"] == pytest.approx(distances[step], rel=1e-6)
    assert state["best"]["metric"] == "sample_distance"


def test_two_fresh_runs_are_identical_and_another_seed_is_not(folder, parent, tmp_path):
    _call(
        parent,
        folder,
        "launch:main",
        [["--gin", "points.gin", "--output", str(tmp_path / "again")]],
    )
    _assert_same_run(tmp_path / "again", folder / "points")
    other = ["--gin", "points.gin", "--output", str(tmp_path / "other"), "--set", "SEED=1"]
    _call(parent, folder, "launch:main", [other])
    with pytest.raises(AssertionError):
        _assert_same_run(tmp_path / "other", folder / "points")


@pytest.mark.parametrize("name", ["points", "images", "one"])
def test_without_sampling_and_logging_the_weights_are_the_same(folder, parent, tmp_path, name):
    settings = ["Trainer.sample_every=0", "Trainer.log_every=100", "Trainer.save_every=100"]
    words = ["--gin", f"{name}.gin", "--output", str(tmp_path / "run")]
    _call(
        parent,
        folder,
        "launch:main",
        [words + [w for s in settings for w in ("--set", s)]],
    )
    last = checkpoints.latest(tmp_path / "run")
    _assert_same_state(
        last, checkpoints.path_of(folder / name, checkpoints.step_of(last)), frozenset({"best", "unlogged"})
    )
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.best(tmp_path / "run")


class Breaking(Langevin):
    """A sampler that fails at its call `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(2)
        self.left = number

    def sample(self, potential, y, step_size, noise, free=None):
        self.left -= 1
        if self.left == 0:
            raise ZeroDivisionError
        return super().sample(potential, y, step_size, noise, free)


def test_an_exception_while_sampling_leaves_the_weights(tmp_path, folder, monkeypatch):
    """Weights, modes and the global generator are those before the grid."""
    from modules import config

    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    trainer = config.load(["points.gin"], ["Trainer.save_every=3"]).build("Trainer")
    trainer.generation.sampler = Breaking(4)
    kept = {}

    def sample(self):
        kept["training"], kept["rng"] = self.training, torch.get_rng_state()
        original(self)

    original = Inspection.sample
    monkeypatch.setattr(Inspection, "sample", sample)
    with pytest.raises(ZeroDivisionError):
        trainer.train(tmp_path / "run")
    training = kept["training"]
    assert torch.equal(torch.get_rng_state(), kept["rng"])
    assert all(network.training for network in training.networks.values())
    checkpoints.save(checkpoints.path_of(tmp_path, 3), training.tensors(), training.numbers())
    straight = checkpoints.path_of(folder / "points", 3)
    _assert_same_state(checkpoints.path_of(tmp_path, 3), straight, frozenset({"best", "unlogged"}))


def _of_two(
    parent: forks.Parent, folder: Path, function: str, arguments: list[object]
) -> tuple[list[int], str]:
    """The exit codes of both processes, and what they printed."""
    with pair(parent, function, arguments, folder) as started:
        codes = [started.wait(rank) for rank in (0, 1)]
    return codes, "".join(log.read_text() for log in started.logs)


@pytest.fixture(scope="module")
def two(folder, parent) -> Path:
    """A run of two processes that was never stopped."""
    words = ["--gin", "points.gin", "--output", "two", "--set", "Trainer.per_device_batch_size=2"]
    codes, printed = _of_two(parent, folder, "launch:main", [words])
    assert codes == [0, 0], printed
    return folder / "two"


@pytest.mark.parametrize(
    "where, number, step",
    [pytest.param("after a save", 4, 4, marks=pytest.mark.slow), ("before a micro-batch", 12, 5)],
)
def test_two_processes_killed_and_resumed(folder, two, parent, tmp_path, where, number, step):
    run = tmp_path / "run"
    words = ["--gin", "points.gin", "--output", str(run), "--set", "Trainer.per_device_batch_size=2"]
    died = [words, where, number]
    codes, printed = _of_two(parent, folder, "tests.training.test_resume:train_and_die", died)
    assert codes == [-9, -9], printed
    assert checkpoints.step_of(checkpoints.latest(run)) == step
    codes, printed = _of_two(parent, folder, "launch:main", [[*words, "--resume"]])
    assert codes == [0, 0], printed
    _assert_same_run(run, two)
