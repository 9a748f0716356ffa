"""Checkpoints come back as they went in, and a broken one is named in one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import launch
from modules import runs
from modules.core.checks import CheckpointError, CheckpointWriteError
from modules.storage import checkpoints

SCHEMA_1 = Path(__file__).with_name("schema_1") / "run"

TENSORS = {
    "energy": {"weight": torch.arange(6.0).reshape(3, 2) / 7, "step": torch.tensor(3.0)},
    "energy_optimizer": {},  # of a network that has not learned yet
}
STATE = {"step": 3, "updates": {"energy": 0}}


@pytest.fixture
def saved(tmp_path):
    path = checkpoints.path_of(tmp_path / "run", 3)
    checkpoints.save(path, TENSORS, STATE)
    return path


def test_round_trip(saved):
    tensors, state = checkpoints.load(saved)
    assert tensors.keys() == TENSORS.keys()
    assert tensors["energy_optimizer"] == {}
    for name, value in TENSORS["energy"].items():
        assert torch.equal(tensors["energy"][name], value) and tensors["energy"][name].dtype == value.dtype
    assert {key: state[key] for key in STATE} == STATE


def test_the_manifest_tells_sizes_hashes_step_schema_and_versions(saved):
    about = json.loads((saved / "manifest.json").read_text())
    assert (about["step"], about["schema"], about["versions"]["torch"]) == (3, 2, torch.__version__)
    names = {path.name for path in saved.iterdir()} - {"manifest.json"}
    assert about["files"].keys() == names and len(names) == 3
    for name, entry in about["files"].items():
        data = (saved / name).read_bytes()
        assert entry == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_saving_again_replaces_and_leaves_nothing_beside(saved):
    other = {"energy": {"weight": torch.zeros(1)}}
    checkpoints.save(saved, other, {"step": 3})
    assert checkpoints.load(saved)[0].keys() == {"energy"}
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_what_is_loaded_is_no_longer_the_file(saved):
    before = (saved / "energy.safetensors").read_bytes()
    tensors, _ = checkpoints.load(saved)
    tensors["energy"]["weight"].fill_(9)
    assert (saved / "energy.safetensors").read_bytes() == before
    assert torch.equal(checkpoints.load(saved)[0]["energy"]["weight"], TENSORS["energy"]["weight"])


def test_tensors_that_share_or_view_memory_are_saved(tmp_path):
    whole = torch.arange(6.0)
    views = {"view": whole[::2], "turned": whole.reshape(2, 3).T}
    checkpoints.save(tmp_path / "c", {"g": views}, {"step": 0})
    loaded = checkpoints.load(tmp_path / "c")[0]["g"]
    assert loaded["view"].tolist() == [0, 2, 4] and loaded["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_newest_and_pruning(tmp_path):
    for step in (2, 10, 9):
        checkpoints.save(checkpoints.path_of(tmp_path, step), {}, {"step": step})
    assert checkpoints.latest(tmp_path) == checkpoints.path_of(tmp_path, 10)
    checkpoints.save(checkpoints.best_path_of(tmp_path, 11), {}, {"step": 11})
    assert checkpoints.latest(tmp_path) == checkpoints.best(tmp_path)  # as good to go on from as any
    checkpoints.prune(tmp_path, 2)
    assert [p.name for p in checkpoints.of_run(tmp_path)] == ["step_00000009", "step_00000010"]
    checkpoints.save(checkpoints.best_path_of(tmp_path, 5), {}, {"step": 5})
    checkpoints.keep_best(tmp_path, 5)
    names = ["best_step_00000005", "step_00000009", "step_00000010"]
    assert [p.name for p in checkpoints.all_of_run(tmp_path)] == names


def test_leftovers_of_killed_saves_go_and_nothing_else(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpoints.save(checkpoints.path_of(tmp_path, 1), {}, {"step": 1})
    for name in (".step_00000002.77.unfinished", ".step_00000001.77.replaced", ".mine", ".step_2.7.backup"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
    # killed between the two renames that replace a checkpoint: the old one comes back
    checkpoints.path_of(tmp_path, 1).rename(folder / ".step_00000003.78.replaced")
    checkpoints.save(checkpoints.path_of(tmp_path, 4), {}, {"step": 4})
    names = {".mine", ".step_2.7.backup", "step_00000001", "step_00000003", "step_00000004"}
    assert {path.name for path in folder.iterdir()} == names


def test_no_checkpoint_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="has no checkpoint: train it first"):
        checkpoints.latest(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="has no best checkpoint"):
        checkpoints.best(tmp_path)


def _edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


BREAKS = {
    "an empty folder": (lambda path: [file.unlink() for file in path.iterdir()], "is no checkpoint"),
    "no folder": (shutil.rmtree, "is no checkpoint: there is no such folder"),
    "no state": (lambda path: (path / "state.json").unlink(), "state.json cannot be read"),
    "no manifest": (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
    "no JSON": (lambda path: (path / "state.json").write_text("{"), "state.json has 1 bytes"),
    "no JSON in the manifest": (
        lambda path: (path / "manifest.json").write_text("{"),
        "manifest.json is not valid",
    ),
    "JSON, but no object": (
        lambda path: (path / "manifest.json").write_text("[1]"),
        "manifest.json must hold",
    ),
    "a bit of the manifest": (
        lambda path: _edit(path / "manifest.json", lambda data: data.replace(b'"step": 4', b'"step": 2')),
        "manifest.json was changed",
    ),
    "another schema": (
        lambda path: _edit(path / "manifest.json", lambda data: data.replace(b'schema": 2', b'schema": 7')),
        "manifest.json has schema 7",
    ),
    "no tensors": (
        lambda path: (path / "energy.safetensors").unlink(),
        "energy.safetensors cannot be read: No such file",
    ),
    "truncated": (
        lambda path: _edit(path / "energy.safetensors", lambda data: data[:-5]),
        "energy.safetensors has",
    ),
    "a bit of a tensor": (
        lambda path: _edit(path / "energy.safetensors", _flip),
        "energy.safetensors was changed",
    ),
    "a bit of the state": (lambda path: _edit(path / "state.json", _flip), "state.json was changed"),
    "a pipe": (lambda path: _replace_by_pipe(path / "energy.safetensors"), "is no plain file"),
    "a pipe for a manifest": (lambda path: _replace_by_pipe(path / "manifest.json"), "is no plain file"),
}


@pytest.mark.parametrize("way", BREAKS)
def test_a_broken_checkpoint_is_named_in_one_line_and_passed_over(saved, way, caplog):
    run, newer = saved.parents[1], checkpoints.path_of(saved.parents[1], 4)
    checkpoints.save(newer, TENSORS, {**STATE, "step": 4})
    damage, expected = BREAKS[way]
    damage(newer)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(newer)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert str(newer) in str(caught.value)
    assert checkpoints.latest(run) == saved
    if way != "no folder":
        assert [record.message for record in caplog.records] == [
            f"passed over a broken checkpoint for {saved.name}: {caught.value}"
        ]


def test_no_whole_checkpoint_is_one_line(saved):
    (saved / "state.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"has no whole checkpoint; the newest: .*state\.json"
    ) as caught:
        checkpoints.latest(saved.parents[1])
    assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointWriteError) as caught:
        checkpoints.save(checkpoints.path_of(tmp_path, 1), TENSORS, STATE)
    assert "cannot write checkpoint" in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.path == checkpoints.path_of(tmp_path, 1) and caught.value.bytes_needed == 28


class TestSchema1:
    """A checkpoint as the first version wrote it: without a manifest, without a best step."""

    path = SCHEMA_1 / "checkpoints" / "step_00000002"

    def test_it_loads(self):
        tensors, state = checkpoints.load(self.path)
        assert state["step"] == 2 and state["updates"] == {"energy": 2, "initializer": 2}
        assert tensors.keys() == {
            f"{name}{part}" for name in ("energy", "initializer") for part in ("", "_ema", "_optimizer")
        }
        for name, group in tensors.items():
            expected = load_file(self.path / f"{name}.safetensors")
            assert group.keys() == expected.keys() and len(group) > 0
            assert all(torch.equal(group[key], expected[key]) for key in group)

    def test_it_samples(self):
        run = runs.load(SCHEMA_1)
        assert run.step == 2 and run.generate(3).x.shape == (3, 2)

    def test_it_goes_on(self, tmp_path, capsys):
        assert launch.main(["--resume", str(self.path), "--output", str(tmp_path / "run")]) == 0
        tensors, state = checkpoints.load(checkpoints.latest(tmp_path / "run"))
        assert state["schema"] == 2 and state["step"] == 4 and state["best"] is None
        before, _ = checkpoints.load(self.path)
        assert (
            float(tensors["energy_optimizer"]["0.step"])
            == 4
            == float(before["energy_optimizer"]["0.step"]) + 2
        )

    def test_it_breaks_in_one_line(self, tmp_path):
        for file in ("energy.safetensors", "state.json"):
            broken = tmp_path / file / "step_00000002"
            shutil.copytree(self.path, broken)
            _edit(broken / file, lambda data: data[: len(data) // 2])
            with pytest.raises(CheckpointError, match=file) as caught:
                checkpoints.load(broken)
            assert "\n" not in str(caught.value)


def test_a_renamed_checkpoint_is_not_taken_for_the_newest(tmp_path, caplog):
    for step in (1, 2):
        checkpoints.save(checkpoints.path_of(tmp_path, step), {}, {"step": step})
    checkpoints.path_of(tmp_path, 1).rename(checkpoints.path_of(tmp_path, 9))
    with pytest.raises(CheckpointError, match="step_00000009 holds step 1: it was renamed"):
        checkpoints.load(checkpoints.path_of(tmp_path, 9))
    assert checkpoints.latest(tmp_path) == checkpoints.path_of(tmp_path, 2)
    assert "passed over a broken checkpoint for step_00000002" in caplog.text
    checkpoints.path_of(tmp_path, 9).rename(tmp_path / "a copy")  # a name of one's own says no step
    assert checkpoints.load(tmp_path / "a copy")[1]["step"] == 1


def test_a_best_checkpoint_that_was_deleted_is_said_to_be(tmp_path):
    state = {"step": 4, "best": {"metric": "fid", "value": 1.0, "step": 3}}
    checkpoints.save(checkpoints.path_of(tmp_path, 4), {}, state)
    with pytest.raises(CheckpointError, match="no best checkpoint any more: that of step 3 was deleted"):
        checkpoints.best(tmp_path)
    checkpoints.save(checkpoints.path_of(tmp_path, 4), {}, {"step": 4, "best": None})
    with pytest.raises(CheckpointError, match="it was trained without samples"):
        checkpoints.best(tmp_path)
