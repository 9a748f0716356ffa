"""The scripts that judge compositions and sweeps count what they say, and name what they can't take."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import launch
from benchmarks import (
    arrays,
    checkerboard_quality,
    digits_product,
    digits_quality,
    evaluation_share,
    judge_shapes,
    judge_sweep,
    save_time,
    shapes_composition,
)
from benchmarks.judge_digits import real_digits
from benchmarks.ranges import spread
from modules import runs
from modules.core.checks import DataError
from modules.storage import checkpoints
from tests.tiny import TINY

torch.set_num_threads(1)


def test_spread_is_mean_and_range_in_percent():
    assert spread([0.25, 0.5, 0.3]) == "35.0 (25.0-50.0)"


def test_shares_of_classes_are_those_of_what_was_recognised(judge):
    images, labels = real_digits("held_out")
    a, b = torch.arange(0, 7), torch.arange(3, 10)
    noise = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    both = (labels >= 3) & (labels <= 6)
    near, in_a, in_b, in_both = digits_product.shares(judge, torch.cat([images[both], noise]), [a, b])
    assert near == pytest.approx(0.96 * both.sum().item() / (both.sum().item() + 100), abs=0.02)
    assert in_a > 0.98 and in_b > 0.98 and in_both > 0.97
    low = labels < 3
    _, in_a, in_b, in_both = digits_product.shares(judge, images[low], [a, b])
    assert in_a > 0.97 and in_b < 0.03 and in_both < 0.03
    assert digits_product.shares(judge, noise, [a, b]) == (0, 0, 0, 0)


def test_the_product_of_two_runs_is_measured_beside_each(judge, unlabelled, capsys, monkeypatch):
    monkeypatch.setattr(digits_product.Judge, "fit", lambda: judge)
    words = [str(unlabelled), str(unlabelled), "--num", "20", "--seeds", "0", "--weights", "0.5"]
    assert digits_product.main(words) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row[:10].strip() for row in rows] == ["", "A alone", "B alone", "w = 0.5"]
    # half of a model and half of the same model are the model
    assert rows[1].split()[2:] == rows[2].split()[2:] == rows[3].split()[3:]
    assert digits_product.main(["/nowhere", str(unlabelled)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_of_a_sweep_the_finished_runs_are_judged_once(judge, tiny_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(judge_sweep.Judge, "fit", lambda: judge)
    finished, unfinished = (tmp_path / name / "seed_0" for name in ("a", "b"))
    for folder in (finished, unfinished):
        shutil.copytree(tiny_run, folder)
    for path in checkpoints.all_of_run(unfinished):
        if checkpoints.step_of(path) == 4:
            shutil.rmtree(path)
    assert checkpoints.all_of_run(unfinished)
    words = [str(tmp_path), "--num", "20", "--seed", "3"]
    judge_sweep.main(words)
    (file,) = tmp_path.rglob("judged.json")
    assert file == finished / "evaluations" / "judged.json"
    text = file.read_text()
    wanted = judge(runs.load(tiny_run).generate(20, seed=3).x)
    values = json.loads(text)["values"]
    assert {name: values[name]["value"] for name in wanted} == pytest.approx(wanted)
    assert json.loads(text)["protocol"]["step"] == 4
    assert capsys.readouterr().out.startswith(f"{finished}: recognised ")
    judge_sweep.main(words)
    assert file.read_text() == text and not capsys.readouterr().out
    # figures of other samples or of an earlier step are no reason to pass over a run
    for stale in (text.replace('"step": 4', '"step": 3'), text.replace('"seed": 3', '"seed": 0'), "{"):
        file.write_text(stale)
        judge_sweep.main(words)
        assert file.read_text() == text and capsys.readouterr().out


def test_a_folder_without_runs_and_too_few_samples_are_refused(tmp_path, capsys):
    for words, culprit in (([], "holds no run"), (["--num", "5"], "--num must be at least 20")):
        assert judge_sweep.main([str(tmp_path / "nowhere"), *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and culprit in error


def test_shares_of_composed_shapes_against_weights(shapes_run, capsys):
    words = [str(shapes_run), "--asked", "colour=red", "shape=cross", "--weights", "1", "2"]
    words += [
        "--without",
        "place=upper left",
        "--without-weights",
        "0",
        "-1",
        "--num",
        "3",
        "--seeds",
        "0",
        "1",
    ]
    assert shapes_composition.main(words) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    names = ["weight", "without", "recognised", "colour=red", "shape=cross", "all", "place=upper left"]
    assert head.split() == " ".join(names).split()
    assert [row.split()[:2] for row in rows] == [["1", "0"], ["1", "-1"], ["2", "0"], ["2", "-1"]]
    assert all(row.count("(") == 5 for row in rows)
    assert shapes_composition.main([str(shapes_run), "--asked", "colour=mauve"]) == 2
    assert "mauve" in capsys.readouterr().err


@pytest.fixture(scope="module")
def shapes_run(tmp_path_factory):
    """A run on the shapes of one step, with the smallest networks."""
    folder = tmp_path_factory.mktemp("shapes")
    text = TINY.replace('include "data/digits.gin"', 'include "data/shapes.gin"').replace(
        "NUM_STEPS = 4", "NUM_STEPS = 1"
    )
    (folder / "tiny.gin").write_text(text.replace("sample_every = 4", "sample_every = 0"))
    command = ["--gin", str(folder / "tiny.gin"), "--set", "NUM_CLASSES=14", "--output", str(folder / "run")]
    assert launch.main(command) == 0
    return folder / "run"


@pytest.mark.parametrize(
    "script", [digits_quality, checkerboard_quality, save_time, evaluation_share], ids=lambda m: m.__name__
)
def test_a_script_names_a_file_that_is_missing_in_one_line(script, judge, capsys, monkeypatch):
    monkeypatch.setattr(digits_quality.Judge, "fit", lambda: judge)
    assert script.main(["--gin", "nowhere.gin"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nowhere.gin" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "words"),
    [(save_time, ["--steps", "4"]), (evaluation_share, ["--steps", "0"])],
    ids=["save_time", "evaluation_share"],
)
def test_too_few_steps_to_time_are_refused(script, words, capsys):
    assert script.main(["--gin", "gin/cdrl_digits.gin", *words]) == 2
    assert capsys.readouterr().err.startswith("error: --steps must be")


def test_what_is_no_array_and_an_attribute_asked_for_twice(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name, words in {"text.npy": "is no .npy or .npz", "other.npz": "no array 'images', only x"}.items():
        with pytest.raises(DataError, match=words):
            arrays.images(tmp_path / name)
    with pytest.raises(DataError, match="twice"):
        judge_shapes.parse(["colour=red", "colour=blue"])
