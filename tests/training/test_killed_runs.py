"""kill -9 at any moment of a run that saves at every step: a whole checkpoint is there, one step is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

import launch
from modules.storage import checkpoints, durable
from tests.training.test_resume import POINTS


def _saved(run: Path) -> int:
    """The newest step in a checkpoint's name; 0 for none."""
    return max((checkpoints.step_of(path) for path in checkpoints.of_run(run)), default=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, parent) -> Path:
    """A folder with a gin file."""
    folder = tmp_path_factory.mktemp("killed")
    text = POINTS.replace("keep = 9", "keep = 2").replace("sample_every = 3", "sample_every = 20")
    (folder / "points.gin").write_text(text)
    return folder


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_again_and_again(folder, parent, tmp_path, kills):
    chance = random.Random(kills)
    run, straight = tmp_path / "run", tmp_path / "straight"
    words = ["--gin", "points.gin", "--set", f"NUM_STEPS={20 + 6 * kills}", "--output"]
    log = tmp_path / "straight_log"
    assert parent.run("launch:main", [[*words, str(straight)]], folder, log) == 0
    words.append(str(run))
    in_saves = 0
    for number in range(kills):
        before = _saved(run)
        resume = ["--resume"] if before else []
        log = tmp_path / f"log{number}"
        pid = parent.start("launch:main", [[*words, *resume]], folder, log)
        # any moment from the start of the process to a few steps on, and saves are most of a step
        target = before + chance.randrange(0, 3)
        deadline = time.monotonic() + 60
        while _saved(run) < target and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.1))
        progress = _saved(run)
        os.kill(pid, signal.SIGKILL)
        assert parent.wait(pid) == -9, log.read_text()
        if progress:
            in_saves += len(durable.leftovers(run / "checkpoints")) > 0
            assert checkpoints.step_of(checkpoints.latest(run)) >= progress >= before
            for path in checkpoints.all_of_run(run):  # no half of anything under a checkpoint's name
                checkpoints.load(path)
    words += ["--resume"] if _saved(run) else []
    assert parent.run("launch:main", [words], folder, tmp_path / "log") == 0
    for find in (checkpoints.latest, checkpoints.best):
        (ours, state), (theirs, other) = (checkpoints.load(find(r)) for r in (run, straight))
        assert state == other
        for group in theirs:
            assert all(torch.equal(ours[group][name], theirs[group][name]) for name in theirs[group]), group
    assert durable.leftovers(run / "checkpoints") == [] == durable.leftovers(run)
    assert len(checkpoints.of_run(run)) == 2
    assert in_saves > 0 or kills < 30  # some of them hit a save
    print(f"{kills} kills, {in_saves} in a save")


def test_a_second_run_on_the_folder_stops_at_once(folder, parent, tmp_path):
    """Before the first checkpoint too; and the lock of a run that was killed stops nobody."""
    run = tmp_path / "run"
    words = ["--gin", "points.gin", "--output", str(run), "--set", "Trainer.save_every=100"]
    first = parent.start("tests.training.test_killed_runs:train_slowly", [words], folder, tmp_path / "first")
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert checkpoints.all_of_run(run) == []
    config = (run / "config.gin").read_bytes()
    for more in ([], ["--set", "SEED=3"], ["--resume"]):
        log = tmp_path / "second"
        log.unlink(missing_ok=True)
        began = time.monotonic()
        assert parent.run("launch:main", [[*words, *more]], folder, log) == 2
        assert time.monotonic() - began < 5
        text = log.read_text()
        assert text.count("\n") == 1 and f"{run} is being written by another run" in text
    assert (run / "config.gin").read_bytes() == config
    os.kill(first, signal.SIGKILL)
    assert parent.wait(first) == -9
    assert parent.run("launch:main", [words], folder, tmp_path / "log") == 0
    assert _saved(run) == 8


def train_slowly(words: list[str]) -> int:
    """A run that would take a minute."""
    from modules.training.state import Training

    step = Training.step

    def slow(self, batches, rows):
        time.sleep(1)
        return step(self, batches, rows)

    Training.step = slow
    return launch.main(words)
