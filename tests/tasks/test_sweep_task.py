"""`launch.py --sweep`: killed, signalled and failing runs, the same command again, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import launch
from modules.storage import checkpoints
from modules.storage.run_lock import is_held, run_lock
from modules.sweep import workers
from modules.tasks import _sweep
from modules.tasks._sweep import _last_line
from tests import light
from tests.forks import Fork, Parent
from tests.training.test_resume import POINTS

STEPS = 30
AXIS = "one: LANGEVIN_STEPS=1 | two: LANGEVIN_STEPS=2"
WORDS = ["--gin", "points.gin", "--set", f"NUM_STEPS={STEPS}", "--output", "sweep", "--seeds", "7,"]
COMMAND = [*WORDS, "--sweep", AXIS]


def _saved(run: Path) -> int:
    return max((checkpoints.step_of(path) for path in checkpoints.of_run(run)), default=0)


def _until(done, what: str) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True).stdout
    return [int(child) for child, of in map(str.split, listed.splitlines()) if int(of) == pid]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder with points.gin."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "points.gin").write_text(POINTS.replace("sample_every = 3", "sample_every = 0"))
    return folder


def swept_by_forks(words: list[str]) -> int:
    """launch.main, whose runs are forked: no interpreter is started for them."""
    workers.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
        Popen=Fork, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT
    )
    return launch.main(words)


def drawn(words: list[str]) -> int:
    """launch.main, its figures looked at."""
    with light.drawn():
        return launch.main(words)


@pytest.fixture(scope="module")
def swept(folder, parent: Parent) -> Path:
    """A sweep of which a run was killed, that was then asked to stop, and then went to its end.

    The last run to be started is a command of its own.
    """
    sweep = folder / "sweep"
    one, two = (sweep / name / "seed_7" for name in ("one", "two"))

    def start(log: str) -> int:
        return parent.start("tests.tasks.test_sweep_task:swept_by_forks", [COMMAND], folder, folder / log)

    # a run is killed: the other goes on
    pid = start("log1")
    _until(lambda: _saved(one) >= 3, "a first run")
    (child,) = _children(pid)
    os.kill(child, signal.SIGKILL)
    assert parent.wait(pid) == 1
    first, text = _saved(one), (folder / "log1").read_text()
    assert 3 <= first < STEPS and _saved(two) == STEPS
    assert "failed: one, seed 7: " in text and "(exit code -9; sweep/one/seed_7.log)" in text
    assert text.splitlines()[-1] == "1 of 2 runs failed; the same command tries them again"
    assert [row["seeds"] for row in csv.DictReader((sweep / "sweep.csv").open())] == ["0", "1"]
    assert "Not finished: one, seed 7." in (sweep / "sweep.md").read_text()
    before = (two / "metrics.jsonl").stat()

    # the sweep is asked to stop: its run is saved
    pid = start("log2")
    _until(lambda: _saved(one) > first, "the run going on")
    os.kill(pid, signal.SIGTERM)
    assert parent.wait(pid) == 75
    second, text = _saved(one), (folder / "log2").read_text()
    assert first < second < STEPS and not is_held(one)
    assert "1 of 2 runs are finished already" in text and "one, seed 7: goes on" in text
    assert "stopped by a signal with 1 of 2 runs finished; the same command goes on: python launch.py" in text

    assert parent.run("tests.tasks.test_sweep_task:drawn", [COMMAND], folder, folder / "log3") == 0
    assert _saved(one) == STEPS
    after = (two / "metrics.jsonl").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino), "trained again"
    return sweep


def test_an_interrupted_sweep_ends_as_runs_of_their_own(swept, folder, parent):
    words = [
        "--gin",
        "points.gin",
        "--set",
        f"NUM_STEPS={STEPS}",
        "--set",
        "Trainer.seed=7",
        "--output",
        "own",
    ]
    settings = ["--set", "LANGEVIN_STEPS=1"]
    assert parent.run("launch:main", [[*words, *settings]], folder, folder / "log") == 0
    (ours, state), (theirs, other) = (
        checkpoints.load(checkpoints.latest(run)) for run in (swept / "one" / "seed_7", folder / "own")
    )
    assert state == other and state["step"] == STEPS
    for group in theirs:
        assert all(torch.equal(ours[group][name], theirs[group][name]) for name in theirs[group]), group
    assert "LANGEVIN_STEPS = 1" in (swept / "one" / "seed_7" / "config.gin").read_text()


def test_its_table_is_of_what_the_runs_measured(swept):
    rows = list(csv.DictReader((swept / "sweep.csv").open()))
    assert [row["variant"] for row in rows] == ["one", "two"]
    for row in rows:
        file = swept / row["variant"] / "seed_7" / "evaluations" / f"step_{STEPS:08d}.json"
        value = json.loads(file.read_text())["values"]["sliced_wasserstein"]["value"]
        assert float(row["sliced_wasserstein"]) == pytest.approx(value, rel=1e-6)
        assert (row["seeds"], int(row["steps"])) == ("1", STEPS) and float(row["seconds"]) > 0
    text = (swept / "sweep.md").read_text()
    assert "Not finished" not in text and "Seeds 7." in text and AXIS in text
    assert (swept / "sweep.png").stat().st_size > 5000


def _refused(capsys, words: list[str]) -> str:
    capsys.readouterr()
    assert launch.main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and printed.out == ""
    return printed.err


def test_the_folder_is_for_this_sweep_alone(swept, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = (swept / "sweep.json").read_bytes()
    other = [*WORDS, "--sweep", "one: LANGEVIN_STEPS=3 | three:"]
    text = _refused(capsys, other)
    for part in ("- two", "+ three", "one: + LANGEVIN_STEPS = 3", "one: - LANGEVIN_STEPS = 1"):
        assert part in text
    assert "seeds [7], now [7, 8]" in _refused(capsys, [*COMMAND, "--seeds", "7,8"])
    assert "two: + ENERGY_LR = 0.1" in _refused(capsys, [*COMMAND, "--set", "ENERGY_LR=0.1"])
    single = ["--gin", "points.gin", "--output", "sweep"]
    for words in (single, [*single, "--resume", "auto"], ["--output", "sweep", "--resume"]):
        text = _refused(capsys, words)
        assert "sweep is the folder of a sweep; go on with it by python launch.py" in text and AXIS in text
    assert (swept / "sweep.json").read_bytes() == before
    (folder / "own").mkdir(exist_ok=True)
    (folder / "own" / "config.gin").touch()
    assert "own holds a run" in _refused(capsys, [*COMMAND, "--output", "own"])
    assert "new is no sweep's folder" in _refused(capsys, [*COMMAND, "--output", "new", "--resume"])


def test_a_second_sweep_on_the_folder_stops_at_once(swept, folder, parent):
    with run_lock(swept):
        assert parent.run("launch:main", [COMMAND], folder, folder / "log5") == 2
    assert "sweep is being written by another run" in (folder / "log5").read_text()


def test_with_leave_it_goes_on_with_other_points_and_keeps_what_both_have(swept, folder, monkeypatch, capsys):
    """Nothing is left to train of these: only the table is made anew."""
    monkeypatch.chdir(folder)
    words = [*WORDS, "--sweep", "two: LANGEVIN_STEPS=2 | one: LANGEVIN_STEPS=1", "--allow-changes"]
    assert launch.main([*words, "--columns", "gap,steps"]) == 0
    assert "2 of 2 runs are finished already" in capsys.readouterr().out
    rows = list(csv.DictReader((swept / "sweep.csv").open()))
    assert [(row["variant"], row["steps"]) for row in rows] == [("two", str(STEPS)), ("one", str(STEPS))]
    # a column that there isn't costs nothing but this line
    assert "--columns: no run has a figure 'gpa'. Did you mean 'gap'?" in _refused_late(
        capsys, [*words, "--columns", "gpa"]
    )


def _refused_late(capsys, words: list[str]) -> str:
    capsys.readouterr()
    assert launch.main(words) == 2
    return capsys.readouterr().err


ENDS = {"stopped": ({}, 75, 75), "interrupted": ({}, 130, 130), "failed": ({"one, seed 7": "why"}, 0, 1)}


@pytest.mark.parametrize("end", ENDS)
def test_a_wrong_column_leaves_the_exit_code_of_the_runs(swept, folder, monkeypatch, capsys, end):
    failed, stop_code, wanted = ENDS[end]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(_sweep, "_train", lambda *_: (failed, stop_code))
    assert launch.main([*COMMAND, "--allow-changes", "--columns", "fid_n10000_seed0:fid"]) == wanted
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "'fid_n10000_seed0:fid'" in lines[0]


FAULTS = {
    "an unknown name": (
        ["--sweep", "fine: | bad: Langevin.num_stps=3"],
        ["bad: ", "Did you mean 'num_steps'"],
    ),
    "an unknown component": (
        ["--sweep", "RecoveryLikelihood.sampler=@Langevin(),@Langvin()"],
        ["@Langvin()"],
    ),
    "a wrong type": (["--sweep", 'LANGEVIN_STEPS=1,"x"'], ['LANGEVIN_STEPS="x": ', "must be an integer"]),
    "a value out of range": (["--sweep", "LANGEVIN_STEPS=1,-1"], ["LANGEVIN_STEPS=-1: ", "at least 0"]),
    "a binding without effect": (["--sweep", "UNet.dim=8,16"], ["UNet.dim=8: ", "UNet"]),
    "no value": (["--sweep", "A=1,,2"], ["empty value"]),
    "not gin": (["--sweep", "fine: | bad: LANGEVIN_STEPS=(1"], ["bad: "]),
    "micro-batches that don't fit": (["--sweep", "BATCH_SIZE=8,9"], ["BATCH_SIZE=9: ", "doesn't divide"]),
    "two that set it": (["--sweep", "SEED=1,2", "--set", "SEED=3"], ["--set SEED has no effect"]),
    "seeds twice": (["--sweep", "Trainer.seed=1,2", "--seeds", "2"], ["Trainer.seed", "--seeds"]),
    "no seeds": (["--seeds", "none"], ["--seeds none"]),
    "no jobs": (["--seeds", "2", "--jobs", "0"], ["--jobs must be at least 1"]),
    "jobs of a single run": (["--jobs", "2"], ["--jobs is for a sweep"]),
    "a checkpoint": (
        ["--seeds", "2", "--resume", "runs/a/checkpoints/step_1"],
        ["a sweep's runs start anew"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_any_point_is_one_line_before_anything_is_trained(folder, monkeypatch, capsys, fault):
    monkeypatch.chdir(folder)
    words, expected = FAULTS[fault]
    text = _refused(capsys, ["--gin", "points.gin", "--output", "faulty", *words])
    assert all(part in text for part in expected), text
    assert not (folder / "faulty").exists()


def test_a_failure_is_told_by_its_error_else_by_the_last_line(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"error: of an earlier start\n")
    start = log.stat().st_size
    assert _last_line(log, start) == "without output"
    with log.open("ab") as file:
        file.write(b"  1%| |\r 99%| | \xff\n")
    assert _last_line(log, start).startswith("99%| |")
    with log.open("ab") as file:
        file.write(b"error: the culprit\nwarning: later\n")
    assert _last_line(log, start) == "error: the culprit"
    assert _last_line(tmp_path / "nowhere", 0) == "without output"


def test_several_processes_are_refused(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "use python launch.py" in _refused(capsys, ["--gin", "points.gin", "--seeds", "2"])


def test_a_dry_run_lists_the_points_and_writes_nothing(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = [
        "--gin",
        "points.gin",
        "--sweep",
        "LANGEVIN_STEPS=1,2",
        "--sweep",
        "one: ENERGY_LR=1.0 | two: ENERGY_LR=2.0 | plain:",
    ]
    assert launch.main([*words, "--seeds", "3", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("LANGEVIN_STEPS=1, one: LANGEVIN_STEPS=1; ENERGY_LR=1.0 (energy MLPEnergy of ")
    assert lines[-1] == "6 points x 3 seeds = 18 runs below runs/points_sweep"
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--seeds", "2"], "nothing to train: name a gin file"),
        (["--columns", "fid", "--gin", "points.gin"], "--columns is for a sweep: add --sweep or --seeds"),
        (["--seeds", "2", "--keep", "0", "--gin", "points.gin"], "--keep must be at least 1"),
        (["--seeds", "2", "--jobs", "1025", "--gin", "points.gin"], "--jobs must be at most 1024"),
        (["--seeds", "2", "--resume", "--gin", "points.gin"], "nowhere is no sweep's folder: leave --resume"),
    ],
)
def test_what_a_sweep_lacks_is_one_line(folder, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(folder)
    assert expected in _refused(capsys, [*words, "--output", "nowhere"])
    assert not (folder / "nowhere").exists()
