"""`launch.py` without a task trains: dry run, a whole run, resuming, branching off, and what it refuses."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import launch
from modules.storage import checkpoints
from tests.tiny import TINY

torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with tiny.gin, which draws no samples."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.gin").write_text(TINY.replace("sample_every = 4", "sample_every = 0"))
    return tmp_path


def _launch(*words: str) -> int:
    return launch.main(["--gin", "tiny.gin", *words])


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_dry_run_describes_and_writes_nothing(folder, capsys):
    assert _launch("--dry-run", "--set", "Trainer.per_device_batch_size=2") == 0
    text = capsys.readouterr().out
    assert _files(folder) == {"tiny.gin"}
    assert "Langevin.num_steps = 2  # tiny.gin:5" in text and "Langevin.noise_scale = 1.0  # default" in text
    assert "batch: 8 = 1 processes x 4 micro-batches x 2, on cpu, precision no" in text
    assert "steps: 4, 32 samples" in text
    counts = [line for line in text.splitlines() if line.endswith(" parameters")]
    assert [line.split(":")[0] for line in counts] == ["energy", "initializer"]
    assert "CooperativeResNet" in counts[0] and "UNet" in counts[1]


def test_a_run_writes_what_it_says(tiny_run):
    names = _files(tiny_run)
    assert {"config.gin", "config.json", "operative.gin", "metrics.jsonl", "curves.png"} <= names
    assert {"samples/step_00000004.png", "checkpoints/step_00000004/energy_ema.safetensors"} <= names
    assert sum(name.startswith("tensorboard/events.") for name in names) == 1
    assert "NUM_CLASSES = 10" in (tiny_run / "config.gin").read_text()
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 4]


def test_a_new_run_replaces_no_file_of_the_users(folder, capsys):
    (folder / "config.gin").write_text("mine")
    assert _launch("--output", ".") == 2
    assert "config.gin was not written by this command: name another --output" in capsys.readouterr().err
    assert _files(folder) - {".lock"} == {"tiny.gin", "config.gin"}
    assert (folder / "config.gin").read_text() == "mine"


def test_a_gin_file_gives_the_run_its_name(folder, capsys):
    assert _launch("--set", "NUM_STEPS=1") == 0
    assert checkpoints.latest(folder / "runs" / "tiny").name == "step_00000001"
    assert "--task generate --run runs/tiny" in capsys.readouterr().out


def test_the_next_command_is_one_that_a_shell_takes(folder, capsys):
    assert _launch("--set", "NUM_STEPS=1", "--output", "my runs/a'b") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sample it: ")]
    words = shlex.split(line.removeprefix("sample it: "))
    assert words[words.index("--run") + 1] == "my runs/a'b"


def test_resuming_an_interrupted_run(folder, capsys):
    assert _launch("--output", "whole") == 0
    # as it lies there after a kill at step 3
    shutil.copytree(folder / "whole", folder / "cut")
    shutil.rmtree(folder / "cut" / "checkpoints" / "step_00000004")
    lines = (folder / "cut" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "cut" / "metrics.jsonl").write_text("".join(lines[:3]) + '{"step": 4, "los')
    assert launch.main(["--output", "cut", "--resume"]) == 0
    whole, cut = (checkpoints.load(checkpoints.latest(folder / name)) for name in ("whole", "cut"))
    assert whole[1] == cut[1]
    for group, tensors in whole[0].items():
        for key, value in tensors.items():
            assert torch.equal(value, cut[0][group][key]), f"{group}/{key}"
    rows = [json.loads(line) for line in (folder / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]

    # what is refused on a run that there is
    capsys.readouterr()
    first = str(folder / "cut" / "checkpoints" / "step_00000002")
    for words, expected in {
        ("--output", "cut"): "cut holds a run already: add --resume, or --output another folder",
        ("--output", "cut", "--resume", "--set", "ENERGY_LR=0.1"): "- ENERGY_LR = 0.01; + ENERGY_LR = 0.1",
        ("--resume", first): "has gone on to step_00000004: delete what comes after step_00000002",
        ("--resume", first, "--output", "whole"): "whole holds a run already",
    }.items():
        assert _launch(*words) == 2, words
        printed = capsys.readouterr().err
        assert expected in printed and printed.count("\n") == 1
    assert _launch("--output", "cut", "--dry-run") == 0

    # a longer run, and a branch with another setting
    assert _launch("--output", "cut", "--resume", "--allow-changes", "--set", "NUM_STEPS=5") == 0
    assert checkpoints.latest(folder / "cut").name == "step_00000005"
    assert "NUM_STEPS = 5" in (folder / "cut" / "config.gin").read_text()
    change = ("--set", "ENERGY_LR=0.1", "--set", "NUM_STEPS=3", "--allow-changes")
    assert _launch("--resume", first, "--output", "branch", *change) == 0
    assert [path.name for path in checkpoints.of_run(folder / "branch")] == ["step_00000003"]
    assert "ENERGY_LR = 0.1" in (folder / "branch" / "config.gin").read_text()
    assert "ENERGY_LR = 0.01" in (folder / "cut" / "config.gin").read_text()


def test_one_command_begins_and_goes_on(folder, capsys):
    """--resume auto, whatever is there: nothing, a start without a checkpoint, a run, a broken one."""
    assert _launch("--output", "cut", "--resume", "auto", "--dry-run") == 0
    assert not (folder / "cut").exists()
    for stop, said in ((2, "cut: begins"), (4, "cut: goes on from step_00000002")):
        words = ("--set", f"NUM_STEPS={stop}", "--allow-changes")
        assert _launch("--output", "cut", "--resume", "auto", *words) == 0
        assert said in capsys.readouterr().out
        assert checkpoints.latest(folder / "cut").name == f"step_{stop:08d}"
    rows = [json.loads(line) for line in (folder / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert launch.main(["--output", "cut", "--resume", "auto"]) == 0  # by the run's own configuration

    # a changed configuration is refused as by --resume; damage is no reason to begin anew
    assert _launch("--output", "cut", "--resume", "auto", "--set", "ENERGY_LR=0.1") == 2
    assert "- ENERGY_LR = 0.01; + ENERGY_LR = 0.1" in capsys.readouterr().err
    for path in checkpoints.of_run(folder / "cut"):
        (path / "state.json").unlink()
    assert _launch("--output", "cut", "--resume", "auto") == 2
    assert "cut has no whole checkpoint" in capsys.readouterr().err

    # killed before its first checkpoint
    shutil.rmtree(folder / "cut" / "checkpoints")
    assert _launch("--output", "cut", "--resume", "auto", "--set", "NUM_STEPS=1") == 0
    assert len((folder / "cut" / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run with checkpoints of steps 1 to 4."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.gin").write_text(TINY.replace("sample_every = 4", "sample_every = 0"))
    words = ["--gin", str(folder / "tiny.gin"), "--output", str(folder / "run"), "--keep", "9"]
    assert launch.main([*words, "--set", "Trainer.save_every=1"]) == 0
    return folder / "run"


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_a_start_removes_what_killed_writers_left(whole, folder):
    run = Path(shutil.copytree(whole, folder / "run"))
    left = [".config.gin.77.unfinished", "checkpoints/.step_00000003.77.unfinished"]
    for name in left:
        (run / name).write_text("half")
    assert launch.main(["--output", str(run), "--resume"]) == 0
    assert not any((run / name).exists() for name in left) and checkpoints.latest(run).name == "step_00000004"


def test_keep_goes_over_the_configuration(whole, folder, capsys):
    assert len(checkpoints.of_run(whole)) == 4  # Trainer.keep is 3
    assert _launch("--output", "run", "--keep", "1") == 0
    assert [path.name for path in checkpoints.of_run(folder / "run")] == ["step_00000004"]
    # how many are kept is no part of what is trained
    words = ("--resume", "--set", "NUM_STEPS=6", "--allow-changes", "--keep", "2", "--output", "run")
    assert _launch(*words) == 0
    assert [checkpoints.step_of(path) for path in checkpoints.of_run(folder / "run")] == [4, 6]
    capsys.readouterr()
    assert _launch("--output", "other", "--keep", "0") == 2
    assert "--keep must be at least 1, got 0" in capsys.readouterr().err
    assert not (folder / "other").exists()


def test_the_latest_falls_back_and_says_so_and_a_named_one_never_does(whole, folder, capsys, caplog):
    run = Path(shutil.copytree(whole, folder / "run"))
    last = checkpoints.load(checkpoints.path_of(whole, 4))
    for step, name in ((3, "energy_ema"), (4, "initializer")):
        _flip(checkpoints.path_of(run, step) / f"{name}.safetensors")
    assert launch.main(["--resume", str(checkpoints.path_of(run, 4))]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "initializer.safetensors was changed" in printed
    assert caplog.records == []
    assert launch.main(["--output", str(run), "--resume"]) == 0
    lines = [record.message for record in caplog.records]
    assert len(lines) == 2 and all("passed over" in line and "step_00000002" in line for line in lines)
    assert "initializer.safetensors" in lines[0] and "energy_ema.safetensors" in lines[1]
    # the broken ones were made anew
    again = checkpoints.load(checkpoints.path_of(run, 4))
    assert again[1] == last[1]
    for group, tensors in last[0].items():
        assert all(torch.equal(tensors[key], again[0][group][key]) for key in tensors), group
    assert launch.main(["--task", "verify", "--run", str(run)]) == 0


LOST = {
    "optimizer state": ("energy_optimizer", 'no optimizer state of the network "energy"', "starts anew"),
    "averages": ("energy_ema", "no group 'energy_ema'", "start from its weights"),
    "the best step": ("best", "lacks the best step", ""),
}


@pytest.mark.parametrize("what", LOST)
def test_missing_state_is_an_error_unless_it_is_allowed(whole, folder, capsys, caplog, what):
    group, expected, said = LOST[what]
    path = checkpoints.path_of(folder / "run", 2)
    shutil.copytree(whole, folder / "run", ignore=shutil.ignore_patterns("step_*"))
    tensors, state = checkpoints.load(checkpoints.path_of(whole, 2))
    del state["groups"]
    tensors.pop(group, None)
    state.pop(group, None)
    checkpoints.save(path, tensors, state)
    words = ["--output", str(folder / "run"), "--resume"]
    capsys.readouterr()
    assert launch.main(words) == 2
    printed = capsys.readouterr().err
    assert expected in printed and printed.count("\n") == 1
    assert launch.main([*words, "--allow-inexact"]) == 0
    assert said in caplog.text
    assert checkpoints.load(checkpoints.latest(folder / "run"))[1]["step"] == 4


FAULTS = {
    "nothing to train": ([], "name a gin file"),
    "nothing to resume": (["--resume"], "name the run by --output"),
    "nothing to resume or begin": (["--resume", "auto"], "name the run by --output"),
    "nothing to begin": (["--resume", "auto", "--output", "nowhere"], "name a gin file"),
    "a run that there isn't": (["--resume", "--output", "nowhere"], "nowhere has no checkpoint"),
    "a checkpoint that there isn't": (["--resume", "runs/a/checkpoints/step_1"], "there is no such folder"),
    "no checkpoint by its name": (["--resume", "nonsense"], "name RUN/checkpoints/step_N"),
    "a checkpoint without a run": (
        ["--gin", "tiny.gin", "--resume", "/"],
        "--resume / is no checkpoint of a run",
    ),
    "a folder that is no checkpoint": (["--gin", "tiny.gin", "--resume", "."], "--resume . is no checkpoint"),
    "a seed beyond 64 bits": (["--gin", "tiny.gin", "--set", f"SEED={2**64}"], "at most 64 bits"),
    "threads without end": (["--gin", "tiny.gin", "--set", "Trainer.num_workers=2000"], "at most 1024"),
    "too large a batch": (["--gin", "tiny.gin", "--set", "BATCH_SIZE=2000"], "data set of 1437 examples"),
    "an uneven batch": (
        ["--gin", "tiny.gin", "--set", "Trainer.per_device_batch_size=3"],
        "doesn't divide the 8",
    ),
    "fp16": (["--gin", "tiny.gin", "--set", 'Runtime.precision="fp16"'], "use 'bf16' or 'no'"),
    "a tracker": (["--gin", "tiny.gin", "--set", 'Runtime.trackers=("tensorbord",)'], "'tensorboard'"),
    "a network without optimizer": (
        ["--gin", "tiny.gin", "--set", 'Trainer.optimizers={"energy": @energy/AdamW()}'],
        'none for the network "initializer"',
    ),
    "another resolution": (
        ["--gin", "tiny.gin", "--set", "CooperativeResNet.shape=(1, 16, 16)"],
        "set SHAPE for both",
    ),
    "a missing data set": (
        [
            *("--gin", "tiny.gin", "--set", "Trainer.data=@HuggingFaceData()"),
            *("--set", "HuggingFaceData.shape=%SHAPE", "--set", 'HuggingFaceData.source="./nowhere"'),
        ],
        "nowhere",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_before_any_step(folder, capsys, fault):
    words, expected = FAULTS[fault]
    assert launch.main(words) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1, printed
    assert expected in printed
    assert not list(folder.rglob("checkpoints")) and not list(folder.rglob("metrics.jsonl"))


def test_bf16_trains_and_samples(folder):
    settings = ['Runtime.precision="bf16"', "NUM_STEPS=2", "Trainer.num_samples=2", "Trainer.sample_every=2"]
    assert _launch("--output", "half", *(word for s in settings for word in ("--set", s))) == 0
    rows = [json.loads(line) for line in (folder / "half" / "metrics.jsonl").read_text().splitlines()]
    assert all(value == value for row in rows for value in row.values())
    tensors, _ = checkpoints.load(checkpoints.latest(folder / "half"))
    assert all(value.dtype == torch.float32 for value in tensors["energy"].values())
    assert (folder / "half" / "samples" / "step_00000002.png").exists()
