"""`--task inpaint` writes a picture a mask and one file of numbers; faults are one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import launch
from modules import runs
from modules.data.digits import Digits
from modules.data.quantization import to_bytes
from modules.features.digits import DigitsClassifier
from modules.metrics.perceptual import perceptual_figures

torch.set_num_threads(1)


def _inpaint(run, output, *options: str) -> int:
    return launch.main(["--task", "inpaint", "--run", str(run), "--output", str(output), *options])


def test_it_writes_pictures_and_numbers(tiny_run, tmp_path) -> None:
    options = ["--num", "3", "--completions", "4", "--label", "own", "--guidance", "0.5", "--seed", "2"]
    assert _inpaint(tiny_run, tmp_path, *options, "--mask", "left", "all") == 0
    assert {p.name for p in tmp_path.glob("[!.]*")} == {"left.png", "all.png", "inpaint.json"}
    found = json.loads((tmp_path / "inpaint.json").read_text())
    assert (found["step"], found["seed"], found["completions"], found["guidance"]) == (4, 2, 4, 0.5)
    assert found["masks"]["all"]["rmse"] == {"mean": None, "each": [None] * 3}

    images, labels = Digits(10).open().rows(torch.arange(3) * 1437 // 3)
    mask = torch.arange(8).expand(8, 8) < 4
    x = runs.load(tiny_run).inpaint(images, mask, 4, labels[:, 0], 0.5, seed=2, batch_size=5)
    assert x.shape == (3, 4, 1, 8, 8)
    assert torch.equal(x[..., :4], images[:, None, ..., :4].expand(3, 4, 1, 8, 4))
    error = (x.clamp(-1, 1) - images[:, None])[..., 4:].square().mean((1, 2, 3, 4)).sqrt()
    assert found["masks"]["left"]["rmse"]["each"] == pytest.approx(error.tolist(), abs=1e-4)
    assert found["masks"]["left"]["diversity"]["mean"] > 0.1
    assert found["features"] is None and "perceptual" not in found["masks"]["left"]


EXTRACTOR = ["--set", "Evaluation.extractor=@DigitsClassifier()"]


def test_perceptual_distances_by_the_extractor_named(tiny_run, tmp_path, capsys):
    options = ["--num", "2", "--completions", "3", "--mask", "left", "all", *EXTRACTOR]
    assert _inpaint(tiny_run, tmp_path, *options) == 0
    found = json.loads((tmp_path / "inpaint.json").read_text())
    assert found["features"]["extractor"] == "DigitsClassifier" and len(found["features"]["weights"]) == 64
    images, _ = Digits(10).open().rows(torch.arange(2) * 1437 // 2)
    x = runs.load(tiny_run).inpaint(images, torch.arange(8).expand(8, 8) < 4, 3)
    features = DigitsClassifier().open((1, 8, 8), torch.device("cpu"))
    expected = perceptual_figures(to_bytes(x), to_bytes(images), features, torch.device("cpu"))
    for name, values in expected.items():
        assert found["masks"]["left"][name]["each"] == pytest.approx(values.tolist(), rel=1e-2, abs=1e-3)
        assert found["masks"]["all"][name]["mean"] == 0
    assert "perceptual_diversity" in capsys.readouterr().out


def test_files_of_images_and_nothing_known(tiny_run, tmp_path) -> None:
    """An empty mask gives what generate gives with the seed."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.full((16, 16), 100 * i, np.uint8)).save(folder / f"{i}.png")
    options = ["--images", str(folder), "--mask", "none", "--completions", "2"]
    assert _inpaint(tiny_run, tmp_path / "out", *options) == 0
    found = json.loads((tmp_path / "out" / "inpaint.json").read_text())["masks"]["none"]
    x = runs.load(tiny_run).generate(4).x.clamp(-1, 1).unflatten(0, (2, 2))
    truth = torch.tensor([-1.0, 100 / 127.5 - 1])[:, None, None, None, None]
    error = (x - truth).square().mean((1, 2, 3, 4)).sqrt()
    assert found["rmse"]["each"] == pytest.approx(error.tolist(), abs=1e-4)


FAULTS = {
    "no such mask": (["--mask", "lefft"], "'lefft'. Did you mean 'left'?"),
    "masks of one name": (
        ["--mask", "left", "drawn/left.png"],
        "--mask left drawn/left.png: both would be written as left.png",
    ),
    "a mask twice": (["--mask", "left", "all", "left"], "--mask left left: both would be written as"),
    "a mask that knows nothing": (
        ["--mask", "black.png"],
        "black.png says that nothing is known: paint what",
    ),
    "a mask of another size": (["--mask", "small.png"], "small.png has 4x4 pixels, the model's images 8x8"),
    "an extractor without layers": (
        ["--set", "Evaluation.extractor=@RawPixels()"],
        "RawPixels names no layers to compare (ModuleFeatures.layers)",
    ),
    "no such image": (["--images", "nowhere.png"], "nowhere.png doesn't exist"),
    "no picture": (["--images", "text.png"], "text.png cannot be read as a picture"),
    "too many": (["--num", "2000"], "2000 images are asked for, the data set has 1437"),
    "no completions": (["--completions", "0"], "--completions must be at least 1"),
    "label out of range": (["--label", "10"], "a label must be in 0..9 (-1 = none), got 10"),
    "own label of a file": (
        ["--images", "small.png", "--label", "own"],
        "needs images of the run's own data",
    ),
    "guidance without labels": (["--guidance", "1"], "trained without labels: guidance has nothing"),
    "own labels without labels": (["--label", "own"], "trained without labels (NUM_CLASSES = 0)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_writes_nothing(tiny_run, unlabelled, tmp_path, monkeypatch, capsys, fault):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save("small.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("black.png")
    (tmp_path / "text.png").write_text("no picture")
    options, expected = FAULTS[fault]
    run = unlabelled if "without labels" in fault else tiny_run
    assert _inpaint(run, "out", *options) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and expected in printed
    assert not (tmp_path / "out").exists()
