"""`--task evaluate`: the values are those of the metrics on the run's own samples; faults are one line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import launch
from modules import runs
from modules.data.digits import Digits
from modules.data.points import Checkerboard
from modules.data.quantization import to_bytes
from modules.features.digits import DigitsClassifier
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.fid import FID
from modules.metrics.inception_score import InceptionScore
from modules.metrics.kid import KID
from modules.metrics.mode_mass import ModeMass
from modules.metrics.prdc import PRDC
from modules.metrics.recognised import Recognised
from modules.metrics.sliced_wasserstein import SlicedWasserstein

torch.set_num_threads(1)

EXTRACTOR = ["--set", "Evaluation.extractor=@DigitsClassifier()"]
ALL = "fid,kid,is,prdc,class_accuracy,recognised,mode_mass,sliced_wasserstein"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The cache folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HF_HOME", str(folder))
        yield folder / "recovery-likelihood" / "references"


def _evaluate(run: Path, output: Path, *options: str) -> int:
    return launch.main(["--task", "evaluate", "--run", str(run), "--output", str(output), *options])


def _read(folder: Path) -> dict:
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def _values(found: dict) -> dict[str, float]:
    return {name: entry["value"] for name, entry in found["values"].items()}


@pytest.fixture(scope="module")
def evaluated(home, tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    assert _evaluate(tiny_run, folder, "--metrics", ALL, "--num", "40", "--seed", "3", *EXTRACTOR) == 0
    return folder


def test_a_run_with_modules_of_its_own_needs_to_be_trusted(home, tiny_run, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (tmp_path / "bound_to_a_run.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    saved = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**saved, "imports": ["bound_to_a_run"]}))
    words = ["--metrics", "recognised", "--num", "20", *EXTRACTOR]
    assert _evaluate(run, tmp_path / "out", *words) == 2
    assert "bound_to_a_run" in capsys.readouterr().err
    assert _evaluate(run, tmp_path / "out", *words, "--trust-imports") == 0


def test_each_way_of_measuring_has_a_file_of_its_own(home, tiny_run, tmp_path):
    """And metrics and extractors can be given by --set alone."""
    usual = ["--metrics", "recognised", "--num", "20", "--set", "Evaluation.extractor=@DigitsClassifier()"]
    ways = [
        [],
        ["--label", "3"],
        ["--weights", "live"],
        ["--repeats", "2"],
        ["--set", "Langevin.num_steps=1"],
    ]
    for way in ways:
        assert _evaluate(tiny_run, tmp_path, *usual, *way) == 0
    parts = [
        path.stem.removeprefix("step_00000004_recognised_n20_seed0_") for path in tmp_path.glob("*.json")
    ]
    assert sorted(part.rpartition("set")[0] for part in parts) == ["", "", "label3_", "live_", "repeats2_"]
    assert len(set(parts)) == len(ways)
    by_set = ["--set", "Evaluation.metrics=[@Recognised()]", "--num", "20", *EXTRACTOR]
    assert _evaluate(tiny_run, tmp_path / "set", *by_set) == 0
    assert _read(tmp_path / "set")["protocol"]["set"] == ["Evaluation.metrics=[@Recognised()]", EXTRACTOR[1]]


def test_values_are_those_of_the_metrics_on_the_runs_samples(evaluated, tiny_run):
    labels = torch.arange(40) % 10
    here = to_bytes(runs.load(tiny_run).generate(40, labels, seed=3).x)
    there = to_bytes(Digits(10).open().rows(torch.arange(1437))[0])
    features = DigitsClassifier().open((1, 8, 8), torch.device("cpu"))
    x, y = features.extract(here), features.extract(there)
    p, q = x.logits.softmax(1), y.logits.softmax(1)
    expected = {}
    for metric in (FID(), KID(), PRDC(), SlicedWasserstein()):
        expected |= metric.compute(predictions=x.features, references=y.features)
    for metric in (InceptionScore(), Recognised()):
        expected |= metric.compute(predictions=p, references=q)
    expected |= ModeMass().compute(predictions=p.argmax(1), references=q.argmax(1))
    expected |= ClassAccuracy().compute(predictions=p, references=labels)
    found = _values(_read(evaluated))
    assert found.keys() == expected.keys() and len(found) > 15
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-3, abs=2e-3), name  # a pixel may round otherwise
    assert found["is_real"] > 8 and found["recognised_real"] > 0.9  # the references are digits


def test_the_protocol_is_part_of_the_number(evaluated, tiny_run, capsys):
    found = _read(evaluated)
    protocol, values = found["protocol"], found["values"]
    assert "note" not in values["is_real"]
    assert values["fid"]["note"] == values["is"]["note"] == "biased: N = 40 < 10,000"
    assert "note" not in values["kid"] and "note" not in values["recognised"]
    assert (protocol["samples"], protocol["seed"], protocol["classes"]) == (40, 3, "in turn")
    assert (protocol["step"], protocol["weights"]) == (4, "ema")
    assert protocol["generation"]["sampler"]["num_steps"] == 2
    assert protocol["generation"]["sampler"]["noise_scale"] == 1.0
    assert protocol["schedule"]["num_levels"] == 6 and "8 bits" in protocol["quantization"]
    reference, features = protocol["reference"], protocol["features"]
    assert (reference["count"], reference["of"], reference["data"]["part"]) == (1437, 1437, "train")
    assert features["extractor"] == "DigitsClassifier" and len(features["weights"]) == 64
    (path,) = evaluated.glob("*.json")
    assert path.name.startswith("step_00000004_fid-kid-") and "_n40_seed3_set" in path.name
    assert protocol["set"] == [EXTRACTOR[1]]


def test_what_is_printed_holds_values_and_protocol(home, tiny_run, tmp_path, capsys):
    options = ("--metrics", "recognised", "--num", "20", "--batch-size", "7", "--repeats", "2", *EXTRACTOR)
    assert _evaluate(tiny_run, tmp_path, *options) == 0
    printed = capsys.readouterr().out
    for part in ("recognised  ", " ± ", "samples: 20", "seed: [0, 1]", "DigitsClassifier", "weights: ema"):
        assert part in printed
    found = _read(tmp_path)
    assert found["values"]["recognised_real"]["sd"] == 0 and found["protocol"]["seed"] == [0, 1]


def test_standard_errors_on_request(home, tiny_run, tmp_path, capsys):
    options = ("--metrics", "fid,recognised,mode_mass", "--num", "40", "--seed", "3", "--bootstrap", "200")
    assert _evaluate(tiny_run, tmp_path, *options, "--repeats", "2", *EXTRACTOR) == 0
    found, printed = _read(tmp_path), capsys.readouterr().out
    assert found["protocol"]["bootstrap"] == "200 random halves of the samples; the reference is kept"
    share = found["values"]["mode_0"]
    each = [_values(_read_seed(tiny_run, seed, tmp_path))["mode_0"] for seed in (3, 4)]
    exact = sum(p * (1 - p) / 39 for p in each) ** 0.5 / 2  # of the mean of two shares
    assert share["value"] == pytest.approx(sum(each) / 2)
    assert share["standard_error"] == pytest.approx(exact, rel=0.15)
    low, high = share["interval_95"]
    assert high - low == pytest.approx(2 * 1.96 * share["standard_error"], rel=1e-4)
    assert (low + high) / 2 == pytest.approx(share["value"], abs=1e-9)
    assert found["values"]["fid"]["standard_error"] > 0
    assert "standard_error" not in found["values"]["recognised_real"]
    assert "standard error " in printed and ", 95% " in printed and "bootstrap: 200 random halves" in printed


def _read_seed(run: Path, seed: int, folder: Path) -> dict:
    options = ("--metrics", "mode_mass", "--num", "40", "--seed", str(seed), *EXTRACTOR)
    assert _evaluate(run, folder / str(seed), *options) == 0
    return _read(folder / str(seed))


def test_references_are_computed_once(evaluated, home, tiny_run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in home.glob("[!.]*")}
    # FID's moments; the rows that KID, PRDC and distances share; modes; sums of two metrics
    assert len(before) == 5 and all(path.suffix in (".npz", ".npy") for path in before)
    options = ("--metrics", ALL, "--num", "40", "--seed", "3", "--batch-size", "9", *EXTRACTOR)
    assert _evaluate(tiny_run, tmp_path / "again", *options) == 0
    assert {path: path.stat().st_mtime_ns for path in home.glob("[!.]*")} == before
    expected = _values(_read(evaluated))
    for name, value in _values(_read(tmp_path / "again")).items():
        assert value == pytest.approx(expected[name], rel=2e-3, abs=2e-3), name
    # a broken file is made anew; another count is another file
    for path in before:
        path.write_bytes(path.read_bytes()[:100])
    assert _evaluate(tiny_run, tmp_path / "broken", *options) == 0
    broken = _values(_read(tmp_path / "broken"))
    assert broken == pytest.approx(_values(_read(tmp_path / "again")), rel=1e-5)
    assert home.joinpath(next(iter(before)).name).stat().st_size > 100
    assert _evaluate(tiny_run, tmp_path / "few", *options, "--set", "Evaluation.num_references=99") == 0
    assert len(list(home.iterdir())) == 10
    assert _read(tmp_path / "few")["protocol"]["reference"]["count"] == 99


def test_published_statistics_and_the_extrapolation(evaluated, home, tiny_run, tmp_path):
    states = [dict(np.load(path)) for path in home.glob("moments-*.npz")]
    (state,) = (state for state in states if state["count"] == 1437)
    mu, sigma = state["mean"], state["scatter"] / (state["count"] - 1)
    np.savez(tmp_path / "published.npz", mu=mu, sigma=sigma)
    options = ["--metrics", "fid", "--num", "40", "--seed", "3", *EXTRACTOR]
    options += ["--statistics", str(tmp_path / "published.npz"), "--set", "FID.extrapolate=True"]
    assert _evaluate(tiny_run, tmp_path / "out", *options) == 0
    found = _read(tmp_path / "out")
    np.savez(tmp_path / "published.npz", mu=mu + 1, sigma=sigma)  # others of the same name
    assert _evaluate(tiny_run, tmp_path / "out", *options) == 0
    values = [_values(json.loads(path.read_text()))["fid"] for path in (tmp_path / "out").glob("*.json")]
    assert len(values) == 2 and abs(values[0] - values[1]) > 1
    values = _values(found)
    assert values["fid"] == pytest.approx(_values(_read(evaluated))["fid"], rel=1e-6)
    assert 0 < values["fid_infinity"] < values["fid"] and "note" not in found["values"]["fid_infinity"]
    assert "published.npz" in found["protocol"]["reference"]["fid"]


def test_other_data_and_other_features(home, tiny_run, tmp_path):
    options = ["--metrics", "fid,kid", "--num", "30", "--set", "Evaluation.extractor=@RawPixels()"]
    options += ["--set", "Evaluation.reference=@there/Digits()", "--set", "there/Digits.part='held_out'"]
    assert _evaluate(tiny_run, tmp_path, *options, "--label", "3", "--guidance", "0.5") == 0
    protocol = _read(tmp_path)["protocol"]
    assert protocol["reference"]["count"] == 360 and protocol["reference"]["data"]["part"] == "held_out"
    assert protocol["features"]["extractor"] == "RawPixels" and protocol["classes"] == [3]
    assert protocol["generation"]["guidance"] == {"class": "ClassifierFreeGuidance", "scale": 0.5}


@pytest.mark.usefixtures("drawn")
def test_a_sweep_over_guidance_scales(home, tiny_run, tmp_path):
    """Each scale's file holds what one scale alone gives; a table and a picture show them all."""
    options = ["--metrics", "fid,recognised", "--num", "20", "--repeats", "2", *EXTRACTOR]
    assert _evaluate(tiny_run, tmp_path / "all", *options, "--guidance", "2", "0", "-0.5") == 0
    (table,) = (tmp_path / "all").glob("*.csv")
    assert table.stem.endswith("guidance2+0+-0.5")
    stem = table.stem.removesuffix("2+0+-0.5")
    assert stem.startswith("step_00000004_fid-recognised_n20_seed0_repeats2_set")
    assert {path.name for path in (tmp_path / "all").glob("[!.]*")} == {
        f"{stem}2.json", f"{stem}0.json", f"{stem}-0.5.json", table.name, f"{table.stem}.png"
    }  # fmt: skip
    assert _evaluate(tiny_run, tmp_path / "one", *options, "--guidance", "2") == 0
    alone = _read(tmp_path / "one")
    assert alone == json.loads((tmp_path / "all" / f"{stem}2.json").read_text())
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["guidance"] for row in rows] == ["2.0", "0.0", "-0.5"]
    assert {name: float(rows[0][name]) for name in alone["values"]} == _values(alone)
    assert float(rows[0]["fid_sd"]) == alone["values"]["fid"]["sd"] > 0
    assert len({row["fid"] for row in rows}) == 3
    assert Image.open(table.with_suffix(".png")).width > 500


POINTS = """\
include "data/checkerboard.gin"
include "methods/drl.gin"
include "metrics/points.gin"
NUM_STEPS = 1
BATCH_SIZE = 8
LANGEVIN_STEPS = 1
RecoveryLikelihood.energy = @MLPEnergy()
MLPEnergy.shape = %SHAPE
MLPEnergy.width = 8
Trainer.sample_every = 0
Evaluation.num = 60
Evaluation.num_references = 80
"""

OWN = """\
import gin
from modules.metrics.base import SetMetric
from modules.metrics.rows import Rows


@gin.register
class Spread(SetMetric):
    label, takes = "spread", "features"

    def make_store(self):
        return Rows()

    def figures(self):
        return {"spread": float(self.predictions.read().std() / self.references.read().std())}
"""


def test_points_by_default_and_a_metric_of_ones_own(home, tmp_path, capsys):
    (tmp_path / "points.gin").write_text(POINTS)
    (tmp_path / "spread.py").write_text(OWN)
    run = tmp_path / "run"
    assert launch.main(["--gin", str(tmp_path / "points.gin"), "--output", str(run)]) == 0
    assert launch.main(["--task", "evaluate", "--run", str(run)]) == 0
    found = _read(run / "evaluations")
    assert found["protocol"]["quantization"] is None and found["protocol"]["samples"] == 60
    x = runs.load(run).generate(60).x
    y = Checkerboard().open().rows(torch.arange(80) * 2**20 // 80)[0]
    expected = SlicedWasserstein().compute(predictions=x, references=y)
    expected |= ModeMass().compute(predictions=Checkerboard().cell(x), references=Checkerboard().cell(y))
    values = _values(found)
    assert values.pop("grid_kl") > 0.1  # of an energy that has learned nothing
    assert values == pytest.approx(expected, rel=1e-4)
    assert "sliced_wasserstein" in (run / "page.html").read_text()

    options = ["--metrics", "spread", "--import", str(tmp_path / "spread.py")]
    assert _evaluate(run, tmp_path / "own", *options) == 0
    assert _values(_read(tmp_path / "own"))["spread"] == pytest.approx(float(x.std() / y.std()), rel=1e-4)
    assert _evaluate(run, tmp_path / "out", "--metrics", "sprad", *options[2:]) == 2
    assert "Did you mean 'spread'?" in capsys.readouterr().err


FAULTS = {
    "no run": ([], "--task evaluate needs a trained run"),
    "unknown metric": (["--metrics", "fdi"], "there is no metric 'fdi'. Did you mean 'fid'? Metrics: "),
    "none": (["--metrics", "fid,fid"], "must be different metrics"),
    "not of samples": (["--metrics", "detection"], "use Detection in Python"),
    "nothing": ([], "say what to measure: --metrics fid,kid"),
    "few samples": (["--metrics", "fid", "--num", "1"], "Evaluation.num must be at least 2"),
    "a scale twice": (["--metrics", "fid", "--guidance", "1", "1.0"], "the same scale is given twice"),
    "guidance without labels": (["--metrics", "fid", "--guidance", "1"], "trained without labels"),
    "repeats": (["--repeats", "0"], "--repeats must be at least 1"),
    "bootstrap": (["--bootstrap", "1"], "--bootstrap must be at least 2, or 0 for none"),
    "halves of few": (
        ["--metrics", "fid", "--bootstrap", "9", "--num", "12"],
        "halves of at least 20 samples, got --num 12",
    ),
    "a density of images": (["--metrics", "grid_kl"], "known density in the plane, and Digits has none"),
    "another classifier's classes": (
        [
            "--metrics",
            "class_accuracy",
            "--set",
            "Evaluation.classifier=@ModuleFeatures()",
            "--set",
            "ModuleFeatures.model='torch.nn.AvgPool2d'",
            "--set",
            "ModuleFeatures.arguments={'kernel_size': 8}",
            "--set",
            "ModuleFeatures.gives_logits=True",
            "--set",
            "ModuleFeatures.mean=(0.5,)",
            "--set",
            "ModuleFeatures.std=(0.5,)",
        ],
        "the run has 10 classes, the classifier torch.nn.AvgPool2d 1: set another Evaluation.classifier",
    ),
    "no classifier": (
        ["--metrics", "is", "--set", "Evaluation.extractor=@RawPixels()"],
        "is needs a classifier, and RawPixels has none: set another Evaluation.extractor",
    ),
    "missing weights": (
        [
            "--metrics",
            "fid",
            "--set",
            "Evaluation.extractor=@InceptionV3()",
            "--set",
            "InceptionV3.weights='x.pth'",
        ],
        "there is no file x.pth",
    ),
    "another data set's shape": (
        ["--metrics", "fid", "--set", "Evaluation.reference=@Checkerboard()"],
        "DigitsClassifier takes images of shape (1, 8, 8)",
    ),
    "statistics of other features": (
        ["--metrics", "fid", "--statistics", "three.npz"],
        "three.npz is of 3 features, the extractor DigitsClassifier gives 64",
    ),
    "no statistics": (["--metrics", "fid", "--statistics", "none.npz"], "there is no file none.npz"),
    "objects": (["--metrics", "fid", "--statistics", "objects.npz"], "without objects"),
    "other arrays": (["--metrics", "fid", "--statistics", "arrays.npz"], "it needs the arrays mu and sigma"),
    "statistics for nothing": (["--metrics", "kid", "--statistics", "three.npz"], "which isn't among"),
}


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_and_writes_nothing(
    fault, home, tiny_run, unlabelled, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    np.savez("three.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez("objects.npz", mu=np.array([Evil()], dtype=object), sigma=np.eye(1))
    np.savez("arrays.npz", a=np.zeros(3))
    options, expected = FAULTS[fault]
    run = [] if fault == "no run" else ["--run", str(unlabelled if "without" in fault else tiny_run)]
    extractor = [] if "Evaluation.extractor" in "".join(options) else EXTRACTOR
    command = ["--task", "evaluate", *run, "--output", "out", "--num", "20", *options, *extractor]
    assert launch.main(command) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and expected in printed.err
    assert "executed" not in printed.out and not (tmp_path / "out").exists()


def test_no_extractor_is_no_guess(home, tiny_run, tmp_path, capsys):
    assert _evaluate(tiny_run, tmp_path / "out", "--metrics", "fid") == 2
    assert "names no extractor: add --set 'Evaluation.extractor=@InceptionV3()'" in capsys.readouterr().err
