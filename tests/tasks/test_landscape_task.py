"""`--task landscape`: planes, arrays and an animation of points; lines between images; faults in one line."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image

import launch
from modules import runs
from modules.analysis.landscape import lattice, log_density

torch.set_num_threads(1)

POINTS = """\
include "data/checkerboard.gin"
include "methods/drl.gin"
NUM_STEPS = 2
BATCH_SIZE = 8
LANGEVIN_STEPS = 1
RecoveryLikelihood.energy = @MLPEnergy()
MLPEnergy.shape = %SHAPE
MLPEnergy.width = 8
Trainer.sample_every = 0
Trainer.save_every = 1
"""


def _landscape(run, output, *options: str) -> int:
    return launch.main(["--task", "landscape", "--run", str(run), "--output", str(output), *options])


@pytest.fixture(scope="module")
def points_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points")
    (folder / "points.gin").write_text(POINTS)
    assert launch.main(["--gin", str(folder / "points.gin"), "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_planes_and_their_animation(points_run, tmp_path):
    options = ["--animate", "--levels", "0,4", "--resolution", "20", "--num", "30"]
    assert _landscape(points_run, tmp_path, *options) == 0
    arrays = np.load(tmp_path / "landscape.npz")
    assert arrays["levels"].tolist() == [0, 4] and arrays["log_density"].shape == (2, 20, 20)
    run = runs.load(points_run)
    points = lattice(float(arrays["extents"][1]), 20)
    expected = log_density(run.generation.guidance, run.method.energy, run.method.schedule, 4, points)
    np.testing.assert_allclose(arrays["log_density"][1].ravel(), expected.numpy(), rtol=1e-4, atol=1e-4)
    with Image.open(tmp_path / "landscape.gif") as moving:
        assert moving.n_frames == len(list((points_run / "checkpoints").iterdir())) == 2
    assert Image.open(tmp_path / "landscape.png").width > 200


@pytest.mark.usefixtures("drawn")
def test_a_line_between_two_images(tiny_run, tmp_path):
    image = Image.fromarray(np.full((16, 16), 200, np.uint8))
    image.save(tmp_path / "flat.png")
    options = ["--between", "3", str(tmp_path / "flat.png"), "--points", "5", "--label", "2"]
    assert _landscape(tiny_run, tmp_path / "out", *options) == 0
    with (tmp_path / "out" / "line.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["u"]) for row in rows] == [0, 0.25, 0.5, 0.75, 1] and len(rows[0]) == 7
    run = runs.load(tiny_run)
    flat = torch.full((1, 1, 8, 8), 200 / 127.5 - 1)
    c = run.method.schedule.transition(torch.tensor([1]))
    y = c.y_scale * c.alpha_s * flat
    expected = run.method.energy(y, c, torch.tensor([2])) / c.energy_scale
    assert float(rows[-1]["level_0"]) == pytest.approx(float(expected), rel=1e-4)
    assert (tmp_path / "out" / "line.png").stat().st_size > 10_000


FAULTS = {
    "no run": (None, ["--task", "landscape"], "needs a trained run: --run runs/NAME"),
    "levels": ("points", ["--levels", "0,6"], "--levels 0,6: the run has levels 0..5, not '6'"),
    "a digit that is no level": ("points", ["--levels", "²"], "the run has levels 0..5, not '²'"),
    "a digit that is no index": ("images", ["--between", "0", "²"], "--between ²: there is no such file"),
    "between points": ("points", ["--between", "0", "1"], "--between is for images"),
    "animated images": ("images", ["--animate"], "--animate and --levels are for points"),
    "an index": ("images", ["--between", "0", "1437"], "the run's data have the images 0..1436"),
    "a file": ("images", ["--between", "0", "no.png"], "--between no.png: there is no such file"),
    "no image": ("images", ["--between", "0", __file__], "cannot be read as a picture"),
    "a label": ("images", ["--label", "10"], "a label must be in 0..9 (-1 = none), got 10"),
    "label": ("points", ["--label", "1"], "trained without labels"),
    "points": ("images", ["--points", "1"], "--points at least 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_writes_nothing(tiny_run, points_run, tmp_path, capsys, fault):
    kind, options, expected = FAULTS[fault]
    run = [] if kind is None else ["--run", str(points_run if kind == "points" else tiny_run)]
    assert launch.main(["--task", "landscape", *run, "--output", str(tmp_path / "out"), *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and expected in printed
    assert not (tmp_path / "out").exists()
