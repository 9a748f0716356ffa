"""Checkpoints come back as they went in, and a broken one is named in one line."""

from __future__ import annotations

import json

import pytest
import torch

from modules import checkpoints
from modules.checks import CheckpointError

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


def test_saving_again_replaces_and_leaves_nothing_beside(saved):
    other = {"energy": {"weight": torch.zeros(1)}}
    checkpoints.save(saved, other, {"step": 3})
    assert checkpoints.load(saved)[0].keys() == {"energy"}
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_tensors_that_share_or_view_memory_are_saved(tmp_path):
    whole = torch.arange(6.0)
    checkpoints.save(tmp_path / "c", {"g": {"view": whole[::2], "turned": whole.reshape(2, 3).T}}, {})
    loaded = checkpoints.load(tmp_path / "c")[0]["g"]
    assert loaded["view"].tolist() == [0, 2, 4] and loaded["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_newest_and_pruning(tmp_path):
    for step in (2, 10, 9):
        checkpoints.save(checkpoints.path_of(tmp_path, step), {}, {"step": step})
    (tmp_path / "checkpoints" / ".step_00000011.1").mkdir()  # a save that was interrupted
    assert checkpoints.latest(tmp_path) == checkpoints.path_of(tmp_path, 10)
    checkpoints.prune(tmp_path, 2)
    assert [p.name for p in checkpoints.of_run(tmp_path)] == ["step_00000009", "step_00000010"]


def test_no_checkpoint_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="has no checkpoint: train it first"):
        checkpoints.latest(tmp_path / "nowhere")


def _truncate(path):
    file = path / "energy.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


BREAKS = {
    "no state": (lambda path: (path / "state.json").unlink(), "state.json"),
    "no JSON": (lambda path: (path / "state.json").write_text("{"), "state.json is not valid JSON"),
    "another schema": (lambda path: (path / "state.json").write_text(json.dumps({"schema": 99})), "schema"),
    "no tensors": (lambda path: (path / "energy.safetensors").unlink(), "energy.safetensors"),
    "truncated": (_truncate, "energy.safetensors"),
}


@pytest.mark.parametrize("way", BREAKS)
def test_a_broken_checkpoint_is_named_in_one_line(saved, way):
    damage, expected = BREAKS[way]
    damage(saved)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(saved)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.save(checkpoints.path_of(tmp_path, 1), TENSORS, STATE)
    assert "cannot write checkpoint" in str(caught.value) and "\n" not in str(caught.value)
