"""Weights, samples and statistics that aren't finite are refused by name, and nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import launch
from modules import runs
from modules.core.checks import CheckpointError, DataError
from modules.demo import answers
from modules.demo.answers import Settings
from modules.evaluation.references import published
from modules.features.base import read_weights
from modules.storage import checkpoints

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def poisoned(tiny_run, tmp_path_factory) -> Path:
    """A run whose averages hold two NaN, in a checkpoint that is whole; its other weights are sound."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("poisoned") / "run"))
    for path in checkpoints.all_of_run(folder):
        tensors, state = checkpoints.load(path)
        tensors["energy_ema"]["head.weight"].view(-1)[:2] = torch.tensor([float("nan"), float("inf")])
        kept = {name: value for name, value in state.items() if name not in ("schema", "groups")}
        shutil.rmtree(path)
        checkpoints.save(path, tensors, kept)
    return folder


COMMANDS = {
    "generate": ["--num", "1"],
    "evaluate": ["--metrics", "fid", "--num", "2", "--set", "Evaluation.extractor=@DigitsClassifier()"],
    "inpaint": ["--num", "1"],
    "interpolate": ["--num", "1"],
    "compose": ["--labels", "3", "--num", "1"],
    "detect": ["--num", "2", "--against", "uniform"],
    "landscape": ["--between", "a.png", "b.png"],
    "chains": ["--num", "2", "--steps", "40", "--every", "1"],
}


@pytest.mark.parametrize("task", COMMANDS)
def test_weights_that_are_not_finite_are_named(poisoned, tmp_path, capsys, task):
    out = tmp_path / "out"
    words = ["--task", task, "--run", str(poisoned), "--output", str(out), *COMMANDS[task]]
    assert launch.main(words) == 2
    printed = capsys.readouterr().err
    assert "group 'energy_ema': head.weight has 2 of" in printed and printed.count("\n") == 1
    assert not out.exists()


def test_training_goes_on_from_no_such_average(poisoned, tmp_path, capsys):
    step = str(checkpoints.path_of(poisoned, 2))
    assert launch.main(["--resume", step, "--output", str(tmp_path / "out")]) == 2
    assert "group 'energy_ema': head.weight has 2 of" in capsys.readouterr().err


def test_sound_weights_of_the_same_checkpoint_are_taken(poisoned, tmp_path):
    words = ["--task", "generate", "--run", str(poisoned), "--num", "1", "--output", str(tmp_path / "out")]
    assert launch.main([*words, "--weights", "live"]) == 0


WAYS = {
    "png": ["generate", "--num", "3", "--batch-size", "2"],
    "npz": ["generate", "--num", "3", "--format", "npz"],
    "compose": ["compose", "--labels", "3", "--num", "3"],
    "inpaint": ["inpaint", "--num", "1", "--completions", "3", "--mask", "left"],
    "interpolate": ["interpolate", "--num", "1", "--frames", "3"],
}


@pytest.mark.parametrize("way", WAYS)
def test_samples_that_are_not_finite_are_not_written(tiny_run, tmp_path, capsys, way):
    task, *options = WAYS[way]
    words = ["--task", task, "--run", str(tiny_run), "--output", str(tmp_path / "out"), *options]
    assert launch.main([*words, "--set", "Langevin.step_factor=1e30"]) == 2
    printed = capsys.readouterr().err
    assert "error: 3 of 3 samples are not finite" in printed
    assert not list((tmp_path / "out").glob("*"))


def test_the_page_shows_no_such_samples(tiny_run):
    run = runs.load(tiny_run, overrides=["Langevin.step_factor=1e30"])
    with pytest.raises(DataError, match="2 of 2 samples are not finite"):
        answers.sample(run, 2, Settings(0), lambda done, total: None)


def test_statistics_and_networks_that_are_not_finite_are_named(tmp_path):
    for name in ("mu", "sigma"):
        arrays = {"mu": np.zeros(3), "sigma": np.eye(3)}
        arrays[name].flat[0] = np.nan
        np.savez(tmp_path / "statistics.npz", **arrays)
        with pytest.raises(DataError, match=rf"statistics\.npz: {name} holds values that are not finite"):
            published(tmp_path / "statistics.npz")
    for file in ("net.safetensors", "net.pth"):
        tensors = {"fine": torch.ones(2), "poor": torch.tensor([1.0, float("inf")])}
        save = save_file if file.endswith("safetensors") else torch.save
        save(tensors, tmp_path / file)
        with pytest.raises(CheckpointError, match=rf"{file}: poor holds values that are not finite"):
            read_weights(tmp_path / file)


def test_kept_references_that_are_not_finite_are_made_anew(tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    words = ["--task", "evaluate", "--run", str(tiny_run), "--output", str(tmp_path / "out"), "--num", "20"]
    words += ["--metrics", "fid,kid", "--set", "Evaluation.extractor=@DigitsClassifier()"]
    assert launch.main(words) == 0
    measured = next((tmp_path / "out").glob("*.json")).read_text()
    kept = sorted(tmp_path.glob("home/**/references/*.np?"))
    assert len(kept) == 2
    for path in kept:
        arrays = {"rows": np.load(path)} if path.suffix == ".npy" else dict(np.load(path))
        for array in arrays.values():
            if array.dtype.kind == "f":
                array.flat[-1] = np.nan
        np.save(path, arrays["rows"]) if path.suffix == ".npy" else np.savez(path, **arrays)
    assert launch.main(words) == 0
    assert next((tmp_path / "out").glob("*.json")).read_text() == measured
