"""Detection, classes, modes and points: each against a closed form, a count by hand, or scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from modules.core.checks import DataError
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.detection import Detection
from modules.metrics.grid_kl import GridKL, square_grid
from modules.metrics.mode_mass import ModeMass
from modules.metrics.recognised import Recognised
from modules.metrics.sliced_wasserstein import SlicedWasserstein
from tests.metrics.drawn import normal

torch.set_num_threads(1)


@pytest.mark.parametrize("ties", [False, True])
def test_detection_against_scikit_learn(ties):
    truth = (normal(400) > 0.5).long()
    score = normal(400, seed=1) + truth
    if ties:
        score = (2 * score).round()
    values = Detection().compute(predictions=score, references=truth)
    assert values["auroc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert values["aupr"] == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    false, hit, _ = roc_curve(truth, score, drop_intermediate=False)
    assert values["fpr95"] == pytest.approx(false[hit >= 0.95].min(), abs=1e-12)
    assert Detection().compute(predictions=-score, references=truth)["auroc"] < 0.5 < values["auroc"]


def test_class_accuracy_counts():
    p = torch.eye(3)[[0, 0, 1, 2, 2]]
    values = ClassAccuracy().compute(predictions=p, references=torch.tensor([0, 1, 1, 2, 0]))
    assert values == {"class_accuracy": 3 / 5, "class_accuracy_worst": 1 / 2}


def test_recognised_counts_beside_the_references():
    p = torch.tensor([[0.95, 0.05], [0.9, 0.1], [0.5, 0.5], [0.01, 0.99]])
    assert Recognised(0.9).compute(predictions=p.double()) == {"recognised": 0.5}
    assert Recognised(0.6).compute(predictions=p, references=p[:3])["recognised_real"] == pytest.approx(2 / 3)


def test_mode_mass_and_total_variation():
    here = torch.tensor([0, 0, 0, 1, -1, -1, -1, -1, 2, 2])
    values = ModeMass().compute(predictions=here, references=torch.arange(4).repeat(5))
    assert [values[f"mode_{k}"] for k in range(4)] == [0.3, 0.1, 0.2, 0.0]
    assert set(values) == {"total_variation", "outside", *(f"mode_{k}" for k in range(4))}
    assert values["outside"] == 0.4
    assert values["total_variation"] == pytest.approx((0.05 + 0.15 + 0.05 + 0.25 + 0.4) / 2)


def test_grid_kl_of_two_gaussians():
    grid, mean = square_grid(2.0, 100), torch.tensor([0.2, -0.1]).double()
    assert torch.equal(GridKL(half_width=2.0, per_side=100).grid(), grid)
    assert grid.dtype == torch.float64 and grid[0].tolist() == [-1.98, -1.98]
    truth = -0.5 * grid.square().sum(1) / 0.2**2 + 3
    model = -0.5 * (grid - mean).square().sum(1) / 0.3**2
    exact = (0.2 / 0.3) ** 2 - 1 + 0.5 * 0.05 / 0.3**2 - 2 * math.log(0.2 / 0.3)
    assert GridKL().compute(predictions=model, references=truth)["grid_kl"] == pytest.approx(exact, rel=1e-6)
    half = torch.where(grid[:, 0] > 0, 0.0, -math.inf)
    uniform = GridKL().compute(predictions=torch.zeros(len(grid)), references=half)
    assert uniform["grid_kl"] == pytest.approx(math.log(2))


def test_sliced_wasserstein_of_a_shift():
    x = normal(300, 2)
    values = SlicedWasserstein().compute(predictions=(x + torch.tensor([0.3, -0.4])).flip(0), references=x)
    assert values["sliced_wasserstein"] == pytest.approx(0.5 / math.sqrt(2))


def test_a_class_asked_for_once_counts_and_one_that_isnt_does_not():
    p = torch.eye(4)[[0, 0, 1, 3]]
    values = ClassAccuracy().compute(predictions=p, references=torch.tensor([0, 0, 1, 2]))
    assert values == {"class_accuracy": 3 / 4, "class_accuracy_worst": 0}
    values = ClassAccuracy().compute(predictions=p[:3], references=torch.tensor([0, 0, 1]))
    assert values["class_accuracy_worst"] == 1


def test_the_highest_threshold_that_finds_95_in_100():
    """Twenty outliers above all inliers but the last, which an inlier exceeds: 19 of 20 are enough."""
    score = torch.tensor([*range(40, 21, -1), 5.0, 10.0, 3.0, 2.0, 1.0])
    truth = torch.tensor([1] * 20 + [0] * 4)
    values = Detection().compute(predictions=score, references=truth)
    assert values["fpr95"] == 0 and values["auroc"] == pytest.approx(1 - 1 / 80)
    values = Detection().compute(predictions=score[1:], references=truth[1:])
    assert values["fpr95"] == 1 / 4


def test_one_of_each_kind_is_enough_for_detection():
    values = Detection().compute(predictions=torch.tensor([2.0, 1.0]), references=torch.tensor([1, 0]))
    assert values == {"auroc": 1, "aupr": 1, "fpr95": 0}
    for truth in ([1, 1], [0, 0]):
        with pytest.raises(DataError, match="needs both"):
            Detection().compute(predictions=torch.tensor([2.0, 1.0]), references=torch.tensor(truth))
    with pytest.raises(DataError, match="needs both"):
        Detection().compute()
