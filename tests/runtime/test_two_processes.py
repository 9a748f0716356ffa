"""Two processes do what one does: the same weights, the same samples, one set of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import launch
from modules.runtime.runtime import Runtime
from tests import two_processes
from tests.forks import Parent
from tests.pairs import pair

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, parent: Parent, tiny_run: Path) -> Path:
    """What two processes left: one start for all tests."""
    output = tmp_path_factory.mktemp("together")
    folders = [str(output), str(tiny_run)]
    with pair(parent, "tests.two_processes:main", folders, output, HF_HOME=str(output / "home")) as two:
        for rank in (0, 1):
            assert two.wait(rank) == 0, two.logs[rank].read_text()[-3000:]
    assert [json.loads(p.read_text()) for p in sorted(output.glob("processes*"))] == [2, 2]
    return output


def _facts(folder: Path, rank: int, head: str) -> dict[str, torch.Tensor]:
    facts = load_file(folder / f"facts{rank}.safetensors")
    return {key.removeprefix(head): value for key, value in facts.items() if key.startswith(head)}


def _assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        error = float((found[key] - value).abs().max())
        assert error <= 1e-9 * (1 + float(value.abs().max())), f"{key}: {error}"


@pytest.fixture(scope="module", params=two_processes.METHODS)
def alone(request: pytest.FixtureRequest) -> tuple[str, dict[str, torch.Tensor]]:
    """A method's name, and all its tensors after training in one process without micro-batches."""
    return request.param, two_processes.trained_weights(request.param, None)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("per_device_batch_size", [None, 2])
def test_weights_are_those_of_one_process(together, alone, per_device_batch_size, rank):
    name, expected = alone
    _assert_equal(_facts(together, rank, f"{name}/{per_device_batch_size}/"), expected)


def test_accumulated_gradients_are_those_of_the_whole_batch(alone):
    name, expected = alone
    _assert_equal(two_processes.trained_weights(name, 2), expected)


def test_training_moved_the_weights(alone):
    """Else the comparisons above would hold for a training that does nothing."""
    name, trained = alone
    for network, module in two_processes.method(name).networks().items():
        for key, start in module.named_parameters():
            moved = (trained[f"{network}/{key}"] - start).abs().max()
            assert moved > 1e-4, f"{network}/{key}"


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("num", [1, 5])  # one: fewer than there are processes
def test_samples_are_those_of_one_process(together, num, rank):
    found = _facts(together, rank, f"drawn/{num}")[""]
    assert found.shape == (num, 1, 8, 8)
    torch.testing.assert_close(found, two_processes.drawn(num), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [0, 1])
def test_metrics_are_those_of_one_process(together, rank):
    found, expected = _facts(together, rank, "measured/"), two_processes.measured(Runtime())
    assert len(expected) > 20 and any(key.startswith("KID/25/kid_sd") for key in expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10, equal_nan=True, msg=name)


def test_a_run_of_two_processes_is_written_once_and_alike(together, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    two_processes.run_folder(tmp_path / "run")
    alone, two = (
        [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path, together)
    )
    assert [row["step"] for row in two] == [row["step"] for row in alone] == [1, 2, 3, 3, 3]
    measured = {"seconds", "evaluation_seconds", "steps_per_second", "images_per_second"}
    for one, other in zip(alone, two, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - measured:
            assert other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-4), name
    names, expected = (
        {str(p.relative_to(folder)) for p in (folder / "run").rglob("*") if "events" not in p.name}
        for folder in (together, tmp_path)
    )
    assert names == expected
    assert len(list((together / "run" / "tensorboard").iterdir())) == 1


def test_the_task_generate_shares_the_images_out(together, tiny_run, tmp_path):
    command = ["--task", "generate", "--run", str(tiny_run), "--output", str(tmp_path), "--num", "5"]
    assert launch.main(command) == 0
    names = sorted(p.name for p in tmp_path.iterdir())
    assert sorted(p.name for p in (together / "generated5").iterdir()) == names
    for name in sorted(p.name for p in tmp_path.glob("*.png")):
        here, there = (np.asarray(Image.open(f / name), int) for f in (tmp_path, together / "generated5"))
        assert abs(here - there).max() <= 1, name  # float32 sums differ in their last digit
    one = np.load(together / "generated1" / "samples.npz")
    assert one["images"].shape == (1, 1, 8, 8) and one["labels"].tolist() == [0]


def test_the_task_evaluate_shares_the_samples_out(together, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert two_processes.evaluate(tmp_path / "evaluated", tiny_run) == 0
    alone, two = (
        [json.loads(path.read_text()) for path in (folder / "evaluated").glob("*.json")]
        for folder in (tmp_path, together)
    )
    assert len(alone) == len(two) == 1 and len(alone[0]["values"]) > 8
    assert two[0]["protocol"] == alone[0]["protocol"] and alone[0]["values"]["fid"]["standard_error"] > 0
    for name, entry in alone[0]["values"].items():
        # float32 networks: a pixel may round otherwise
        for figure in ("value", "standard_error"):
            if figure in entry:
                expected = pytest.approx(entry[figure], rel=2e-3, abs=2e-3)
                assert two[0]["values"][name][figure] == expected, (name, figure)


def _numbers(path: Path) -> np.ndarray:
    """All of a JSON or CSV file, of an array file or of a picture of images; of a drawn figure none."""
    if path.suffix == ".json":
        return np.array(_leaves(json.loads(path.read_text())), float)
    if path.suffix == ".csv":
        lines = path.read_text().splitlines()[1:]
        return np.array([float(cell) for line in lines for cell in line.split(",")[1:]])
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return np.concatenate([arrays[name].astype(float).ravel() for name in arrays.files])
    if path.is_dir() or path.suffix == ".md" or path.name in ("histograms.png", "chains.png", "line.png"):
        return np.empty(0)  # figures of other files; states of each process
    return np.asarray(Image.open(path), float).ravel()


def _leaves(value) -> list[float]:
    if isinstance(value, (dict, list)):
        return [leaf for v in (value.values() if isinstance(value, dict) else value) for leaf in _leaves(v)]
    return [float(value)] if isinstance(value, (int, float)) else []


@pytest.mark.parametrize("name", two_processes.TASKS)
def test_the_other_tasks_do_what_one_process_does(together, tiny_run, tmp_path, name):
    assert two_processes.task(name, tmp_path, tiny_run) == 0
    alone, two = tmp_path / name, together / "tasks" / name
    files = sorted(path.name for path in alone.iterdir())
    assert sorted(path.name for path in two.iterdir()) == files
    counted = 0
    for file in files:
        found, expected = _numbers(two / file), _numbers(alone / file)
        counted += len(expected)
        assert found.shape == expected.shape, file
        tolerance = 1.0 if file.endswith(("png", "npz")) else 1e-3  # of 8-bit pixels, one step
        close = abs(found - expected) <= np.maximum(tolerance, 1e-3 * abs(expected))
        assert (close | (found == expected)).all(), (file, found[~close], expected[~close])
    assert counted > 20
