"""Evaluation during training: values by step, and weights as if it had not been."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.data.points import Checkerboard, GaussianMixture2D, Rings
from modules.energies.analytic import MixtureEnergy
from modules.energies.mlp import MLPEnergy
from modules.evaluation.evaluation import Evaluation
from modules.features.digits import DigitsClassifier
from modules.features.pixels import RawPixels
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.methods.networks import Networks
from modules.methods.recovery import RecoveryLikelihood
from modules.metrics.base import Metric, SetMetric
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.fid import FID
from modules.metrics.grid_kl import GridKL, square_grid
from modules.metrics.mode_mass import ModeMass
from modules.metrics.rows import Rows
from modules.metrics.sliced_wasserstein import SlicedWasserstein
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from modules.training.diary import Diary
from modules.training.inspection import Inspection
from modules.training.optimizers import AdamW
from modules.training.trainer import Trainer

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def _evaluation(every: int = 2) -> Evaluation:
    return Evaluation(
        [SlicedWasserstein(), ModeMass()], RawPixels(), 30, every, num_references=50, batch_size=8
    )


def _trainer(evaluation: Evaluation | None) -> Trainer:
    torch.manual_seed(0)
    energy = MLPEnergy((2,), width=8, depth=1, spectral_norm=True)
    initializer = MLPInitializer((2,), width=8, depth=1)
    return Trainer(
        RecoveryLikelihood(energy, initializer, CosineSchedule(), Langevin(2), shared_noise=True),
        Checkerboard(),
        {"energy": AdamW(1e-2), "initializer": AdamW(1e-2)},
        Generation(Langevin(2)),
        num_steps=5,
        batch_size=8,
        runtime=Runtime(trackers=()),
        log_every=5,
        sample_every=0,
        evaluation=evaluation,
    )


def test_training_is_the_same_bit_for_bit(tmp_path: Path):
    plain = _trainer(None).train(tmp_path / "plain")
    generator = torch.get_rng_state()
    measured = _trainer(_evaluation()).train(tmp_path / "measured")
    assert torch.equal(torch.get_rng_state(), generator)
    one, other = plain.tensors(), measured.tensors()
    assert one.keys() == other.keys()
    for group, tensors in one.items():
        for name, value in tensors.items():
            assert torch.equal(value, other[group][name]), f"{group}/{name}"
    assert not (tmp_path / "plain" / "evaluations").exists()

    rows = [json.loads(line) for line in (tmp_path / "measured" / "metrics.jsonl").open()]
    found = {row["step"]: row for row in rows if "sliced_wasserstein" in row}
    assert list(found) == [2, 4, 5]
    assert found[2]["sliced_wasserstein"] != found[4]["sliced_wasserstein"]
    assert found[5]["evaluation_seconds"] > 0 and 0 <= found[5]["total_variation"] <= 1
    written = json.loads((tmp_path / "measured" / "evaluations" / "step_00000004.json").read_text())
    assert written["values"]["total_variation"]["value"] == pytest.approx(found[4]["total_variation"])
    assert (written["protocol"]["step"], written["protocol"]["weights"]) == (4, "ema")
    assert written["protocol"]["reference"]["count"] == 50


def test_values_are_of_the_averages_and_of_the_seed(tmp_path: Path):
    trainer = _trainer(_evaluation())
    training = trainer.train(tmp_path)
    evaluator = _evaluation().open(Checkerboard(), trainer.runtime)
    models = trainer.method.models(training.ready_averages())
    again, other = (evaluator(trainer.generation, models, seed, {"step": 5}).values for seed in (0, 1))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert again["sliced_wasserstein"] == pytest.approx(rows[-1]["sliced_wasserstein"], rel=1e-6)
    assert other["sliced_wasserstein"] != again["sliced_wasserstein"]


def test_samples_that_are_not_finite_are_reported_not_measured(tmp_path: Path, capsys):
    trainer = _trainer(_evaluation())
    training = trainer.train(tmp_path)
    with torch.no_grad():
        training.averages["initializer"].head.bias.fill_(torch.nan)
    examples, diary = trainer.data.open(), Diary(tmp_path, training, 5, trainer.batch_size)
    evaluator = _evaluation().open(trainer.data, trainer.runtime)
    inspection = Inspection(diary, trainer.generation, evaluator, examples, trainer.num_samples)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert inspection.evaluate() == {}
    diary.close()
    assert "step 5: not measured: 30 of 30 samples are not finite" in capsys.readouterr().out
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_it_is_never_due_without_an_interval(tmp_path: Path):
    _trainer(_evaluation(every=0)).train(tmp_path)
    assert not (tmp_path / "evaluations").exists() and not (tmp_path / "home").exists()
    assert checkpoints.of_run(tmp_path)


def test_points_know_their_parts():
    for data, low in ((Checkerboard(), 1.0), (GaussianMixture2D(num_classes=8), 0.98), (Rings(), 0.99)):
        points = data.open().rows(torch.arange(4000))[0]
        cell = data.cell(points)
        assert cell.dtype == torch.int64 and set(cell.tolist()) - {-1} == set(range(data.num_parts))
        assert low <= float((cell >= 0).double().mean()) <= min(1.0, low + 0.015)
        assert (data.cell(points + 10.0) == -1).all()
    labelled = GaussianMixture2D(num_classes=8).open().rows(torch.arange(4000))
    cell = GaussianMixture2D().cell(labelled[0])
    assert (cell == labelled[1][:, 0])[cell >= 0].all()


class Mean(SetMetric):
    """A user's metric that keeps the points as they are."""

    label, takes = "mean", "features"

    def make_store(self):
        return Rows()

    def figures(self):
        return {self.label: float(self.references.read().mean())}


class MeanSquare(Mean):
    """Another, that keeps their squares, in the same kind of store."""

    label = "mean_square"

    def summary(self, x, indices):
        return x.square()


class Scaled(MeanSquare):
    """One whose summary depends on an argument."""

    label = "scaled"

    def __init__(self, factor: float) -> None:
        self.factor = factor
        super().__init__()

    def summary(self, x, indices):
        return self.factor * x


def _references(*metrics: Metric) -> list[float]:
    Evaluation(metrics, RawPixels(), 4, num_references=64).open(GaussianMixture2D(), Runtime(trackers=()))
    return [metric.figures()[metric.label] for metric in metrics]


def test_a_cached_reference_is_the_metrics_own():
    """At once and from the cache, of metrics that keep rows and summarise differently."""
    x = GaussianMixture2D().open().rows(torch.arange(64) * 2**20 // 64)[0]
    wanted = [float(x.mean()), float(x.square().mean())]
    together = _references(Mean(), MeanSquare(), Scaled(2.0))
    assert together == pytest.approx([*wanted, 2 * wanted[0]], rel=1e-5)
    again = [_references(metric)[0] for metric in (Scaled(2.0), MeanSquare(), Mean(), Scaled(3.0))]
    assert again == pytest.approx([2 * wanted[0], wanted[1], wanted[0], 3 * wanted[0]], rel=1e-5)


REFUSED = {
    "no metrics": (lambda: Evaluation([], RawPixels()), "must be different metrics"),
    "a class": (lambda: Evaluation([FID], RawPixels()), "write @FID()"),
    "a name": (lambda: Evaluation("fid", RawPixels()), "must be list or tuple"),
    "an extractor's name": (lambda: Evaluation([FID()], "pixels"), "must be Extractor, got 'pixels'"),
    "one sample": (lambda: Evaluation([FID()], RawPixels(), 1), "num must be at least 2"),
    "in a trainer": (lambda: _trainer(FID()), "Trainer.evaluation must be Evaluation, got"),
    "images for points": (
        lambda: Evaluation([FID()], DigitsClassifier()).open(Checkerboard(), Runtime()),
        "the data has (2,)",
    ),
    "classes of an unconditional model": (
        lambda: Evaluation([ClassAccuracy()], DigitsClassifier()).open(_digits(), Runtime()),
        "class_accuracy needs a run trained with labels",
    ),
}


def _digits():
    from modules.data.digits import Digits

    return Digits()


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(what):
    make, expected = REFUSED[what]
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [0.0, 0.02])
def test_the_density_of_an_energy_that_is_known(wrong):
    """The exact energy of a mixture is at no distance; one with larger variances, at a known one."""
    data, schedule = GaussianMixture2D(), CosineSchedule()
    energy = MixtureEnergy(data.means.double(), data.std**2 + wrong)
    runtime = Runtime(trackers=())
    metrics = [GridKL(2.0), SlicedWasserstein(16)]
    evaluator = Evaluation(metrics, RawPixels(), 20, num_references=20).open(data, runtime)
    copy = CopyInitializer((2,))
    measured = evaluator(Generation(Langevin(1)), Networks(energy, copy, schedule), 0, {"step": 0})
    c = schedule.transition(torch.ones(1).long(), torch.float64)
    grid = square_grid(2.0, 400)
    p = data.log_density(grid, float(c.alpha_s), float(c.sigma_s))
    q = GaussianMixture2D(std=(data.std**2 + wrong) ** 0.5).log_density(
        grid, float(c.alpha_s), float(c.sigma_s)
    )
    expected = float((p.exp() * (p - q)).sum() * (4 / 400) ** 2)
    assert (expected > 0.3) == (wrong > 0)
    assert measured.values["grid_kl"] == pytest.approx(expected, rel=2e-2, abs=1e-6)
    assert measured.protocol["metrics"][0] == {"class": "GridKL", "half_width": 2.0, "per_side": 200}
    with pytest.raises(ConfigurationError, match="leave --label out"):
        evaluator(Generation(Langevin(1)), Networks(energy, copy, schedule), 0, {}, torch.zeros(20).long())
