"""`--task verify` finds what is wrong with a run, a line each, and says so by its exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import launch
from modules.storage import checkpoints
from tests.tiny import TINY

torch.set_num_threads(1)


def _verify(run: Path, *words: str) -> int:
    return launch.main(["--task", "verify", "--run", str(run), *words])


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    """A copy of the tiny run: checkpoints of steps 2 and 4, and step 4 as the best."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def _change(path: Path, change: Callable[[dict[str, dict[str, torch.Tensor]], dict], None]) -> None:
    """Write a checkpoint anew with another content, hashes and all."""
    tensors, state = checkpoints.load(path)
    change(tensors, state)
    groups = state.pop("groups")
    checkpoints.save(path, {name: tensors[name] for name in groups if name in tensors}, state)


def test_a_sound_run(tiny_run, capsys):
    assert _verify(tiny_run, "--data") == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["step_00000002", "best_step_00000004", "step_00000004"]
    assert lines[:-1] == [f"{tiny_run / 'checkpoints' / name}: sound" for name in names]
    assert lines[-1] == "3 checkpoints and the data: 0 faults"


def _flip_last_bit(path: Path) -> None:
    data = bytearray((path / "initializer.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "initializer.safetensors").write_bytes(data)


def _nan(tensors, state) -> None:
    tensors["energy_ema"]["head.weight"].flatten()[:2] = torch.nan


FAULTS = {
    "a flipped bit": (_flip_last_bit, "initializer.safetensors was changed"),
    "a missing file": (
        lambda path: (path / "energy.safetensors").unlink(),
        "energy.safetensors cannot be read",
    ),
    "not finite": (
        lambda path: _change(path, _nan),
        "energy_ema/head.weight has 2 of",
    ),
    "another network": (
        lambda path: _change(path, lambda t, s: t["energy"].update({"head.weight": torch.zeros(3, 3)})),
        "group 'energy' doesn't fit the configured network",
    ),
    "another precision": (
        lambda path: _change(path, lambda t, s: t["energy"].update({"head.weight": torch.zeros(1).half()})),
        "head.weight is torch.float16, not torch.float32",
    ),
    "a lost part of the optimizer": (
        lambda path: _change(path, lambda t, s: t["energy_optimizer"].pop("0.exp_avg")),
        'optimizer state of the network "energy": 0.exp_avg is missing',
    ),
    "an optimizer of another shape": (
        lambda path: _change(path, lambda t, s: t["energy_optimizer"].update({"0.exp_avg": torch.ones(2)})),
        '"energy": 0.exp_avg is ((2,), torch.float32), not',
    ),
    "another step": (
        lambda path: _change(path, lambda t, s: s.update(step=7)),
        "holds step 7: it was renamed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_line(run, capsys, fault):
    damage, expected = FAULTS[fault]
    path = checkpoints.path_of(run, 2)
    damage(path)
    assert _verify(run) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(str(path)) and expected in lines[0]
    assert all(line.endswith(": sound") for line in lines[1:-1]) and len(lines) == 4
    assert lines[-1] == "3 checkpoints: 1 faults"


def test_all_faults_are_told(run, capsys):
    _flip_last_bit(checkpoints.path_of(run, 2))
    (run / "config.gin").write_text((run / "config.gin").read_text().replace("UNet.dim = 8", "UNet.dim = -8"))
    shutil.rmtree(checkpoints.path_of(run, 4))
    assert _verify(run) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "config.gin: " in lines[0] and "UNet.dim" in lines[0]
    assert lines[-1] == "2 checkpoints: 2 faults"
    shutil.rmtree(run / "checkpoints")
    assert _verify(run) == 1
    assert "has no checkpoint" in capsys.readouterr().out


def test_every_image(run, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(6):
        Image.new("L", (8, 8), 40 * index).save(pictures / f"{index}.png")
    for index in (1, 4):
        data = (pictures / f"{index}.png").read_bytes()
        (pictures / f"{index}.png").write_bytes(data[: len(data) // 2])
    settings = [
        "Trainer.data=@HuggingFaceData()",
        "HuggingFaceData.shape=(1, 8, 8)",
        f'HuggingFaceData.source="{pictures}"',
        "HuggingFaceData.max_bad_images=2",
    ]
    words = [word for setting in (*settings, "NUM_CLASSES=0") for word in ("--set", setting)]
    (tmp_path / "tiny.gin").write_text(TINY)
    output = tmp_path / "images"
    more = ["--set", "NUM_STEPS=1", "--set", "Trainer.sample_every=0", "--set", "BATCH_SIZE=4"]
    command = ["--gin", str(tmp_path / "tiny.gin"), "--output", str(output), *words, *more]
    assert launch.main(command) == 0
    capsys.readouterr()
    assert _verify(output) == 0
    assert _verify(output, "--data") == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot be decoded" in line]
    assert ["1.png" in lines[0], "4.png" in lines[1], len(lines)] == [True, True, 2]


def test_a_stranger_names_no_code(run, tmp_path, capsys):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    (run / "config.json").write_text(json.dumps({"imports": [str(tmp_path / "evil.py")]}))
    assert _verify(run) == 2
    assert "code of its own" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()
    assert _verify(run, "--trust-imports") == 0
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("words", [[], ["--run", "nowhere"]])
def test_no_run_is_one_line(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert launch.main(["--task", "verify", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
