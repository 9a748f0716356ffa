"""`--task detect` writes scores, figures, histograms; it warns of unequal resizing; faults are one line."""

from __future__ import annotations

import csv
import io
import json

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import launch
from modules import runs
from modules.analysis.detection import chosen, separation
from modules.data.digits import Digits

torch.set_num_threads(1)


def _detect(run, output, *options: str) -> int:
    return launch.main(
        ["--task", "detect", "--run", str(run), "--output", str(output), "--num", "40", *options]
    )


def _table(folder) -> list[dict[str, str]]:
    with (folder / "scores.csv").open() as file:
        return list(csv.DictReader(file))


HELD_OUT = ["--inliers", "@Digits", "--set", 'inliers/Digits.part="held_out"']


@pytest.mark.usefixtures("drawn")
def test_scores_of_sets_by_name_and_by_class(tiny_run, tmp_path, capsys):
    options = [*HELD_OUT, "--against", "gaussian", "--against", "eights=@Digits", "--score", "EnergyScore"]
    options += ["--set", "eights/Digits.omit=(0, 1, 2, 3, 4, 5, 6, 7, 9)"]
    options += ["--score", "far/NoisyEnergyScore", "--set", "far/NoisyEnergyScore.levels=(3,)"]
    assert _detect(tiny_run, tmp_path / "one", *options) == 0
    printed = capsys.readouterr()
    assert "warning" not in printed.err and "EnergyScore gaussian: auroc" in printed.out
    table = _table(tmp_path / "one")
    assert [row["set"] for row in table] == ["inliers"] * 40 + ["eights"] * 40 + ["gaussian"] * 40

    # the first scores are those of the run's energy at the images themselves
    examples = Digits(part="held_out").open()
    x = examples.rows(chosen(examples, 40, 0))[0]
    method = runs.load(tiny_run).method
    c = method.schedule.transition(torch.ones(40, dtype=torch.int64))
    expected = method.energy((c.y_scale * c.alpha_s)[:, None, None, None] * x, c).double()
    values = {name: torch.tensor([float(row[name]) for row in table]) for name in list(table[0])[2:]}
    assert list(values) == ["EnergyScore", "far/NoisyEnergyScore"]
    torch.testing.assert_close(values["EnergyScore"][:40].double(), expected, rtol=1e-4, atol=1e-5)
    written = json.loads((tmp_path / "one" / "detection.json").read_text())
    for name, of in values.items():
        figures = separation(of[:40], of[80:])
        assert written["separation"][name]["gaussian"]["auroc"] == pytest.approx(figures["auroc"], abs=0.01)
    assert (tmp_path / "one" / "histograms.png").stat().st_size > 10_000

    assert _detect(tiny_run, tmp_path / "other", *options, "--batch-size", "7") == 0
    for row, same in zip(table, _table(tmp_path / "other"), strict=True):
        assert float(row["far/NoisyEnergyScore"]) == pytest.approx(
            float(same["far/NoisyEnergyScore"]), rel=1e-4
        )


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """Digits enlarged to 16x16: another size, nothing else."""
    folder = tmp_path_factory.mktemp("larger")
    images = Digits(part="held_out").open().images[:40, 0].numpy()
    (folder / "a").mkdir()
    for n, image in enumerate(images):
        Image.fromarray(np.asarray(image)).resize((16, 16)).save(folder / "a" / f"{n}.png")
    return folder


def test_unequal_resizing_is_warned_of_and_made_equal(tiny_run, larger, tmp_path, capsys):
    options = [*HELD_OUT, "--against", f"larger={larger}"]
    assert _detect(tiny_run, tmp_path / "one", *options) == 0
    printed = capsys.readouterr().err
    assert "warning: larger comes from images of 16x16, the inliers from 8x8: unequal resizing" in printed
    assert json.loads((tmp_path / "one" / "detection.json").read_text())["unequal_resize"] == ["larger"]
    assert _detect(tiny_run, tmp_path / "via", *options, "--via", "4") == 0
    assert "warning" not in capsys.readouterr().err


def test_a_set_whose_first_images_are_bad(tiny_run, tmp_path, capsys):
    """What max_bad_images lets pass is no fault of the look at the sizes either: it takes the next."""
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16), 100, np.uint8)).save(file, "PNG")
    rows = [None, {"bytes": b"", "path": None}, {"bytes": b"no picture", "path": None}]
    rows += [{"bytes": file.getvalue(), "path": None}] * 40
    table = datasets.Dataset.from_dict({"image": rows}, datasets.Features({"image": datasets.Image()}))
    table.save_to_disk(str(tmp_path / "set"))
    options = [
        "--against",
        "odd=@HuggingFaceData",
        "--set",
        f'odd/HuggingFaceData.source="{tmp_path / "set"}"',
    ]
    options += ["--set", "odd/HuggingFaceData.shape=(1, 8, 8)", *HELD_OUT]
    assert _detect(tiny_run, tmp_path / "out", *options) == 2
    assert "image 0 (" in capsys.readouterr().err
    options += ["--set", "odd/HuggingFaceData.max_bad_images=3"]
    assert _detect(tiny_run, tmp_path / "out", *options) == 0
    assert "warning: odd comes from images of 16x16" in capsys.readouterr().err
    assert sum(row["set"] == "odd" for row in _table(tmp_path / "out")) == 40


FAULTS = {
    "no run": (["--task", "detect", "--against", "uniform"], "needs a trained run: --run runs/NAME"),
    "nothing": ([], "nothing to detect: name sets by --against NAME=PATH"),
    "unknown": (["--against", "unifrom"], "Did you mean 'uniform'?"),
    "twice": (["--against", "uniform", "--against", "uniform"], "each set needs a name of its own"),
    "no path": (
        ["--against", "mnist=nowhere/mnist.parquet"],
        "there is no file or folder nowhere/mnist.parquet",
    ),
    "shape": (["--against", "points=@Rings"], "points/Rings has the shape (2,), the run (1, 8, 8)"),
    "score": (["--against", "uniform", "--score", "EnergyScor"], "EnergyScor"),
    "no score": (["--against", "uniform", "--score", "Digits"], "--score Digits must be Score"),
    "level": (
        ["--against", "uniform", "--score", "NoisyEnergyScore", "--set", "NoisyEnergyScore.levels=(6,)"],
        "NoisyEnergyScore.levels must be levels 0..5, got 6",
    ),
    "made inliers": (
        ["--inliers", "uniform", "--against", "gaussian"],
        "--inliers uniform: it is made from inliers: give a PATH, HUB_NAME or @CLASS",
    ),
    "a set's name": (
        ["--against", "a b=@Digits"],
        "--against a b=@Digits: 'a b' cannot be the scope of settings",
    ),
    "a set's scope": (["--against", "a=@/Digits"], "--against a=@/Digits: '' cannot be the scope"),
    "a score's scope": (
        ["--against", "uniform", "--score", "a b/EnergyScore"],
        "--score a b/EnergyScore: 'a b' cannot be the scope of settings",
    ),
    "unused": (["--against", "uniform", "--set", "NoisyEnergyScore.levels=(2,)"], "NoisyEnergyScore.levels"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_writes_nothing(tiny_run, tmp_path, capsys, fault):
    options, expected = FAULTS[fault]
    run = [] if fault == "no run" else ["--run", str(tiny_run)]
    assert launch.main(["--task", "detect", *run, "--output", str(tmp_path / "out"), *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and expected in printed
    assert not (tmp_path / "out").exists()
