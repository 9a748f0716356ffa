"""`--task generate` writes each image and a grid, the same whatever the batch size; faults are one line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import launch
from modules import runs
from modules.data.quantization import to_bytes
from modules.storage import checkpoints

torch.set_num_threads(1)


def _generate(run, output, *options: str) -> int:
    return launch.main(["--task", "generate", "--run", str(run), "--output", str(output), *options])


def _pictures(folder):
    return {path.name: np.asarray(Image.open(path), int) for path in sorted(folder.glob("0*.png"))}


@pytest.fixture(scope="module")
def five(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("five")
    assert _generate(tiny_run, folder, "--num", "5", "--seed", "3") == 0
    return folder


def test_it_writes_each_image_and_a_grid(five, tiny_run):
    pictures = _pictures(five)
    assert list(pictures) == [f"{i:06d}.png" for i in range(5)]
    assert {p.name for p in five.glob("[!.]*")} == {*pictures, "grid.png"}
    # the classes in turn, quantized as evaluation does it
    x = runs.load(tiny_run).generate(5, label=range(5), seed=3).x
    expected = to_bytes(x)[:, 0].numpy().astype(int)
    assert abs(np.stack(list(pictures.values())) - expected).max() <= 1
    grid = Image.open(five / "grid.png")
    assert grid.width > grid.height >= 300


def _bytes(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("[!.]*")}


def test_nothing_of_the_users_or_of_other_options_is_touched(tiny_run, tmp_path, capsys):
    for name in ("000123.png", "guidance.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"mine")
    assert _generate(tiny_run, tmp_path, "--num", "2", "--label", "0") == 0  # added to
    before = _bytes(tmp_path)
    assert {str(path) for path in before} == {
        "000000.png", "000001.png", "grid.png", "000123.png", "guidance.png", "notes.txt"
    }  # fmt: skip
    for options in (["--num", "2", "--label", "1"], ["--num", "3", "--guidance", "0", "1"], ["--num", "124"]):
        assert _generate(tiny_run, tmp_path, *options) == 2
        assert "name another --output" in capsys.readouterr().err
        assert _bytes(tmp_path) == before
    assert _generate(tiny_run, tmp_path, "--num", "2", "--label", "0") == 0  # its own: written again
    assert _bytes(tmp_path) == before


def test_other_options_have_another_folder(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for options in ([], ["--label", "1"], ["--label", "1", "--guidance", "0.5"], ["--format", "npz"]):
        words = ["--task", "generate", "--run", str(run), "--num", "2", "--seed", "3", *options]
        assert launch.main(words) == 0
    assert {path.name for path in run.glob("generated*")} == {
        f"generated_seed3_{rest}" for rest in ("num2", "label1_num2", "guidance0.5_label1_num2", "npz_num2")
    }


@pytest.mark.parametrize(
    "words", [["--dry-run"], ["--resume"], ["--gin", "gin/cdrl_digits.gin"]], ids=lambda w: w[0]
)
def test_what_only_training_reads_is_refused(tiny_run, tmp_path, capsys, words):
    for task in ("generate", "evaluate", "verify", "detect", "chains"):
        command = ["--task", task, "--run", str(tiny_run), "--output", str(tmp_path / "x"), *words]
        assert launch.main(command) == 2
        assert capsys.readouterr().err == (
            f"error: {words[0]} is for training: --task {task} takes what --run holds, and --set over it\n"
        )
    assert not (tmp_path / "x").exists()


def test_the_batch_size_makes_no_difference(five, tiny_run, tmp_path):
    assert _generate(tiny_run, tmp_path, "--num", "5", "--seed", "3", "--batch-size", "2") == 0
    one, other = _pictures(five), _pictures(tmp_path)
    assert one.keys() == other.keys()
    for name, pixels in one.items():
        assert abs(pixels - other[name]).max() <= 1  # float32 sums differ in their last digit


def test_the_best_checkpoint_by_name(tiny_run, tmp_path):
    assert checkpoints.best(tiny_run).name == "best_step_00000004"
    assert _generate(tiny_run, tmp_path / "best", "--num", "2", "--checkpoint", "best") == 0
    assert _generate(tiny_run, tmp_path / "last", "--num", "2") == 0
    one, other = _pictures(tmp_path / "best"), _pictures(tmp_path / "last")
    assert all((one[name] == other[name]).all() for name in one) and len(one) == 2


def test_a_label_guidance_and_one_array(tiny_run, tmp_path):
    options = ["--num", "3", "--label", "7", "--guidance", "0.5", "--format", "npz"]
    assert _generate(tiny_run, tmp_path, *options) == 0
    arrays = np.load(tmp_path / "samples.npz")
    assert arrays["labels"].tolist() == [7, 7, 7] and arrays["images"].dtype == np.uint8
    x = runs.load(tiny_run).generate(3, 7, 0.5).x
    assert abs(arrays["images"].astype(int) - to_bytes(x).numpy()).max() <= 1
    assert {p.name for p in tmp_path.glob("[!.]*")} == {"samples.npz", "grid.png"}


def test_points_are_an_array(tmp_path):
    gin = """\
include "data/checkerboard.gin"
include "methods/drl.gin"
NUM_STEPS = 1
BATCH_SIZE = 8
LANGEVIN_STEPS = 1
RecoveryLikelihood.energy = @MLPEnergy()
MLPEnergy.shape = %SHAPE
MLPEnergy.width = 8
Trainer.sample_every = 0
"""
    (tmp_path / "points.gin").write_text(gin)
    assert launch.main(["--gin", str(tmp_path / "points.gin"), "--output", str(tmp_path / "run")]) == 0
    options = ["--num", "70", "--batch-size", "40", "--levels"]
    assert _generate(tmp_path / "run", tmp_path / "out", *options) == 0
    arrays = np.load(tmp_path / "out" / "samples.npz")
    assert arrays["images"].shape == (70, 2) and arrays["images"].dtype == np.float32
    assert arrays.files == ["images"]
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {
        "samples.npz",
        "grid.png",
        "levels.gif",
    }
    assert Image.open(tmp_path / "out" / "levels.gif").n_frames == 8
    torch.testing.assert_close(
        torch.from_numpy(arrays["images"]), runs.load(tmp_path / "run").generate(70).x, rtol=0, atol=1e-4
    )


FAULTS = {
    "no run": (["--task", "generate"], "needs a trained run: --run runs/NAME"),
    "not a run": (["--run", "nowhere"], "nowhere is not the folder of a run"),
    "no images": (["--num", "0"], "--num must be at least 1"),
    "label out of range": (["--label", "10"], "a label must be in 0..9 (-1 = none), got 10"),
    "too many images": (["--num", "999999999999"], "--num must be at most 100000000"),
    "more images than numbers": (["--num", "9" * 30], "--num must be an integer of at most 64 bits"),
    "a number that is none": (["--label=--7"], "no class is named '--7'"),
    "a digit that is no number": (["--label", "²"], "no class is named '²'"),
    "infinite guidance": (["--guidance", "inf"], "ClassifierFreeGuidance.scale must be finite, got inf"),
    "unknown class": (["--label", "cat"], "no class is named 'cat'"),
    "the best, without samples": (["--checkpoint", "best"], "has no best checkpoint"),
    "no such checkpoint": (["--checkpoint", "step_9"], "step_9 is no checkpoint"),
    "an unused setting": (["--set", "energy/AdamW.lr=1.0"], "energy/AdamW.lr"),
    "fewer levels": (["--set", "CosineSchedule.num_levels=4"], "on the levels it was trained on"),
    "steps below 0": (["--steps", "-1"], "steps must be at least 0, got -1"),
    "a scale twice": (["--guidance", "1", "1.0"], "the same scale is given twice"),
    "a format": (["--format", "jpg"], "'jpg'"),
    "a label without labels": (["--label", "3"], "trained without labels (NUM_CLASSES = 0)"),
    "a name without labels": (["--label", "foo"], "trained without labels (NUM_CLASSES = 0)"),
    "guidance without labels": (["--guidance", "1"], "trained without labels: guidance has nothing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_writes_nothing(tiny_run, unlabelled, tmp_path, monkeypatch, capsys, fault):
    monkeypatch.chdir(tmp_path)
    options, expected = FAULTS[fault]
    run = [] if fault == "no run" else ["--run", str(unlabelled if "without" in fault else tiny_run)]
    assert launch.main(["--task", "generate", *run, "--output", "out", *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and expected in printed
    assert not (tmp_path / "out").exists()


def test_a_sweep_over_guidance_scales(tiny_run, tmp_path):
    """Each scale's folder holds what one scale alone gives; the sweep shows a row a scale."""
    options = ["--num", "3", "--label", "2", "--seed", "1"]
    assert _generate(tiny_run, tmp_path / "all", *options, "--guidance", "0", "-0.5", "2") == 0
    assert {p.name for p in (tmp_path / "all").glob("[!.]*")} == {
        "guidance_0", "guidance_-0.5", "guidance_2", "guidance.png"
    }  # fmt: skip
    assert _generate(tiny_run, tmp_path / "one", *options, "--guidance", "2") == 0
    one, swept = _pictures(tmp_path / "one"), _pictures(tmp_path / "all" / "guidance_2")
    assert one.keys() == swept.keys() and all((one[name] == swept[name]).all() for name in one)
    page = Image.open(tmp_path / "all" / "guidance.png")
    assert page.width == page.height  # 3 scales, 3 images


def test_fewer_steps_and_every_level(tiny_run, tmp_path):
    options = ["--num", "9", "--label", "2", "--steps", "0", "--levels", "--format", "npz"]
    assert _generate(tiny_run, tmp_path, *options) == 0
    assert {p.name for p in tmp_path.glob("[!.]*")} == {"samples.npz", "grid.png", "levels.png", "levels.gif"}
    run = runs.load(tiny_run)
    run.generation.sampler.num_steps = 0
    drawn = run.generate(9, 2)
    arrays = np.load(tmp_path / "samples.npz")
    assert abs(arrays["images"].astype(int) - to_bytes(drawn.x).numpy()).max() <= 1
    film = Image.open(tmp_path / "levels.gif")
    assert film.n_frames == 8
    film.seek(7)
    small = np.asarray(film.convert("L").resize((32, 32), Image.Resampling.NEAREST), int)
    last = small[2:10, 2:10]  # the first image of the last frame
    assert abs(last - to_bytes(drawn.x)[0, 0].numpy()).max() <= 2
    strip = Image.open(tmp_path / "levels.png")
    assert strip.width / strip.height == pytest.approx((8 * 10 + 2) / (8 * 10 + 2), rel=0.01)


def test_an_exact_sampler_tells_its_acceptance_by_level(tiny_run, tmp_path, capsys):
    exact = ["--set", "Generation.sampler=@generate/AdjustedLangevin()"]
    exact += ["--set", "generate/AdjustedLangevin.num_steps=4"]
    assert _generate(tiny_run, tmp_path / "exact", "--num", "6", "--batch-size", "4", *exact) == 0
    (line,) = [row for row in capsys.readouterr().out.splitlines() if row.startswith("accepted by level: ")]
    shares = dict(part.split(": ") for part in line.removeprefix("accepted by level: ").split(", "))
    assert list(shares) == ["5", "4", "3", "2", "1", "0"]
    of_24 = [float(share.rstrip("%")) * 24 / 100 for share in shares.values()]
    assert all(0 <= n <= 24 and abs(n - round(n)) < 0.02 for n in of_24) and sum(of_24) > 24
    assert _generate(tiny_run, tmp_path / "plain", "--num", "2") == 0
    assert "accepted" not in capsys.readouterr().out
