"""Manifests that are signed and still say what cannot be: each is refused in a line that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modules.core.checks import CheckpointError
from modules.storage import checkpoints
from modules.storage.manifest import signed

About = dict[str, Any]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "step_00000003"
    checkpoints.save(path, {"energy": {"weight": torch.arange(3.0)}}, {"step": 3, "best": None})
    return path


def _forge(path: Path, change: Callable[[About], object]) -> None:
    about = json.loads((path / "manifest.json").read_text())
    del about["sha256"]
    change(about)
    (path / "manifest.json").write_text(signed(about))


def _rename(about: About, name: str) -> None:
    """As if the group's file had another name."""
    about["files"][name] = about["files"].pop("energy.safetensors")


FORGERIES: dict[str, tuple[Callable[[About], object], str]] = {
    "another step": (lambda a: a.update(step=4), r"state\.json is of step 3, manifest\.json of step 4"),
    "no step": (lambda a: a.pop("step"), r"state\.json is of step 3, manifest\.json of step None"),
    "another schema": (lambda a: a.update(schema=99), r"manifest\.json has schema 99"),
    "no files": (lambda a: a.pop("files"), r"manifest\.json does not list files"),
    "files in a list": (lambda a: a.update(files=["state.json"]), r"manifest\.json does not list files"),
    "files without sizes": (
        lambda a: a.update(files=dict.fromkeys(a["files"], 7)),
        r"manifest\.json does not list files",
    ),
    "a file elsewhere": (lambda a: _rename(a, "../../secret.json"), "which is no file of a checkpoint"),
    "a file of another kind": (lambda a: _rename(a, "energy.pt"), "which is no file of a checkpoint"),
    "a file that isn't there": (
        lambda a: _rename(a, "other.safetensors"),
        "other.safetensors cannot be read",
    ),
    "a size": (lambda a: a["files"]["state.json"].update(size=1), r"state\.json has \d+ bytes, not the 1"),
    "no size": (lambda a: a["files"]["state.json"].pop("size"), r"state\.json has \d+ bytes, not the None"),
    "a hash": (
        lambda a: a["files"]["energy.safetensors"].update(sha256="0" * 64),
        r"energy\.safetensors was changed after it was written",
    ),
    "no hash": (
        lambda a: a["files"]["energy.safetensors"].pop("sha256"),
        r"energy\.safetensors was changed after it was written",
    ),
    "no state": (lambda a: a["files"].pop("state.json"), r"manifest\.json does not list state\.json"),
    "no group": (
        lambda a: a["files"].pop("energy.safetensors"),
        r"manifest\.json does not list energy\.safetensors",
    ),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_signature_alone_makes_no_checkpoint(saved: Path, what: str) -> None:
    change, words = FORGERIES[what]
    assert checkpoints.load(saved)[1]["step"] == 3
    _forge(saved, change)
    with pytest.raises(CheckpointError, match=words) as caught:
        checkpoints.load(saved)
    assert "\n" not in str(caught.value) and str(saved) in str(caught.value)


def test_what_is_signed_anew_without_a_change_is_read(saved: Path) -> None:
    _forge(saved, lambda about: None)
    assert checkpoints.load(saved)[0]["energy"]["weight"].tolist() == [0.0, 1.0, 2.0]


def test_a_change_without_a_signature_is_none(saved: Path) -> None:
    file = saved / "manifest.json"
    file.write_text(file.read_text().replace('"step": 3', '"step": 4'))
    with pytest.raises(CheckpointError, match=r"manifest\.json was changed after it was written"):
        checkpoints.load(saved)
