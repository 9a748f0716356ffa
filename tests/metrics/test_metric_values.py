"""Each metric against a closed form, a count by hand, or the reference implementation of a library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

import modules.metrics.fid as fid_module
import modules.metrics.prdc as prdc_module
from modules.core.arguments import arguments_of
from modules.core.checks import DataError
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.detection import Detection
from modules.metrics.fid import FID, frechet_distance
from modules.metrics.grid_kl import GridKL, square_grid
from modules.metrics.inception_score import InceptionScore
from modules.metrics.kid import KID, polynomial_mmd
from modules.metrics.mode_mass import ModeMass
from modules.metrics.order import scattered
from modules.metrics.prdc import PRDC, distances, prdc
from modules.metrics.recognised import Recognised
from modules.metrics.sliced_wasserstein import SlicedWasserstein

torch.set_num_threads(1)

FLOAT64 = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)


def covariance(dim: int, seed: int) -> Tensor:
    a = normal(dim, dim, seed=seed)
    return a @ a.T / dim + 0.1 * torch.eye(dim, dtype=FLOAT64)


def with_moments(n: int, mean: Tensor, cov: Tensor, seed: int) -> Tensor:
    """n samples whose mean and unbiased covariance are exactly these."""
    z = normal(n, len(mean), seed=seed)
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / (n - 1))).T
    return mean + z @ torch.linalg.cholesky(cov).T


# Fréchet


def test_frechet_of_commuting_gaussians():
    """Diagonal covariances: |m|² + Σ (√a - √b)²."""
    a, b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 1.0])
    mean = torch.tensor([1.0, 2.0, 2.0])
    exact = 9 + 1 + 0 + 4
    assert frechet_distance(mean, a.diag(), 0 * mean, b.diag()) == pytest.approx(exact, rel=1e-12)


def test_frechet_against_scipy_and_of_a_singular_covariance():
    a, b, m = covariance(12, 1), covariance(12, 2), normal(12, seed=3)
    exact = float(m @ m + a.trace() + b.trace() - 2 * np.trace(sqrtm(a.numpy() @ b.numpy()).real))
    assert frechet_distance(m, a, 0 * m, b) == pytest.approx(exact, rel=1e-9)
    assert frechet_distance(m, b, 0 * m, a) == pytest.approx(exact, rel=1e-9)
    flat = normal(12, 3, seed=4)
    flat = flat @ flat.T  # rank 3
    assert frechet_distance(m, flat, m, flat) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(m, flat, m, 4 * flat) == pytest.approx(float(flat.trace()), rel=1e-6)


def test_fid_of_samples_with_known_moments():
    a, b, m = covariance(6, 1), covariance(6, 2), normal(6, seed=3)
    fid = FID()
    fid.add_batch(predictions=with_moments(50, m, a, 4), references=with_moments(70, 0 * m, b, 5))
    assert fid.compute()["fid"] == pytest.approx(frechet_distance(m, a, 0 * m, b), rel=1e-10)
    assert len(fid) == 0  # computed and forgotten
    with pytest.raises(DataError, match="fid needs at least 2 predictions, got 0"):
        fid.compute()


def test_the_extrapolation_takes_the_bias_away():
    """N(0, I) against its exact moments: the distance is 0, and of N samples above it by about c/N."""
    dim, mean, cov = 16, torch.zeros(16).double(), torch.eye(16).double()
    fid = FID(extrapolate=True)
    values = fid.compute(predictions=normal(3000, dim), references=with_moments(500, mean, cov, 1))
    bias = values["fid"]
    assert bias == pytest.approx((dim + dim * (dim + 1) / 4) / 3000, rel=0.3)  # E|m|² + E||S - I||²/4
    assert abs(values["fid_infinity"]) < 0.25 * bias


def test_the_line_is_fitted_to_15_subsets_from_a_tenth_to_all(monkeypatch):
    fid, counts = FID(extrapolate=True), []
    distance = fid._distance
    monkeypatch.setattr(fid, "_distance", lambda found: counts.append(found.count) or distance(found))
    fid.compute(predictions=normal(200, 3), references=normal(200, 3, seed=1))
    whole, *sizes = counts
    assert whole == 200 and len(sizes) == 15 and sorted(set(sizes)) == sizes
    assert (sizes[0], sizes[-1]) == (20, 200)


# kernel distance


def test_mmd_of_two_points_each_by_hand():
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    # k(0,1) = 1, k(1,2) = 27; across k(0,1) = k(0,2) = 1, k(1,1) = 8, k(1,2) = 27
    assert float(polynomial_mmd(x, y)) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_kid_is_unbiased_where_the_distributions_are_equal():
    values = torch.tensor(
        [
            KID().compute(predictions=normal(40, 5, seed=k), references=normal(40, 5, seed=k + 300))["kid"]
            for k in range(300)
        ]
    )
    error = values.std() / math.sqrt(300)
    assert abs(values.mean()) < 3 * error
    shifted = KID().compute(predictions=normal(40, 5) + 1, references=normal(40, 5, seed=1))["kid"]
    assert shifted > 20 * error


def test_kid_by_subsets_agrees_with_the_whole():
    x, y = normal(600, 4), 1.2 * normal(500, 4, seed=1)
    whole = float(polynomial_mmd(x, y))
    values = KID(num_subsets=60, subset_size=200).compute(predictions=x, references=y)
    assert values["kid"] == pytest.approx(whole, abs=4 * values["kid_sd"] / math.sqrt(60) + 0.02 * whole)
    assert values["kid_sd"] > 0 and "kid_sd" not in KID().compute(predictions=x, references=y)


def test_kids_subsets_are_different_ones_of_either_side():
    """Where one set alone is larger than a subset, too."""
    metric = KID(num_subsets=4, subset_size=10)
    for n, m in ((30, 30), (30, 8), (8, 30)):
        pairs = list(metric._subsets(n, m))
        for size, parts in ((n, [x for x, _ in pairs]), (m, [y for _, y in pairs])):
            chosen = [frozenset(part.tolist()) for part in parts]
            assert all(len(part) == min(10, size) for part in chosen)
            assert len(set(chosen)) == (4 if size > 10 else 1)
        assert n != m or any(set(x.tolist()) != set(y.tolist()) for x, y in pairs)
        values = metric.compute(predictions=normal(n, 3), references=normal(m, 3, seed=1))
        assert values["kid_sd"] > 0


# Inception score


def test_inception_score_of_known_probabilities():
    sure = torch.eye(4).repeat(25, 1)
    assert InceptionScore(1).compute(predictions=sure)["is"] == pytest.approx(4)
    assert InceptionScore(1).compute(predictions=torch.full((30, 4), 0.25))["is"] == pytest.approx(1)
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double()
    m = p.mean(0)
    exact = math.exp(float((p * (p / m).log()).sum(1).mean()))
    assert InceptionScore(1).compute(predictions=p.repeat(7, 1))["is"] == pytest.approx(exact, rel=1e-12)


def test_inception_score_by_splits_is_that_of_each_split():
    p = normal(50, 6).softmax(1)
    split = InceptionScore(5).split(torch.arange(50))
    assert set(split.bincount(minlength=5).tolist()) <= {9, 10, 11}
    each = torch.tensor([InceptionScore(1).compute(predictions=p[split == k])["is"] for k in range(5)])
    values = InceptionScore(5).compute(predictions=p, references=p)
    assert values["is"] == pytest.approx(float(each.mean()), rel=1e-6)
    assert values["is_sd"] == pytest.approx(float(each.std(correction=0)), rel=1e-5)
    assert values["is_real"] == values["is"]


@pytest.mark.parametrize("classes", [4, 10])
def test_classes_asked_for_in_turn_are_spread(classes):
    """Sure of classes 0, 1, 2, ... in turn, in 10 splits: the score is nearly their number, not 1."""
    turns = torch.eye(classes)[torch.arange(1000) % classes]
    assert InceptionScore().compute(predictions=turns)["is"] > 0.99 * classes
    points = 10 * turns + normal(1000, classes)  # and every tenth row is not a set of one class
    few = SlicedWasserstein().compute(predictions=points, references=points[:100])["sliced_wasserstein"]
    one = SlicedWasserstein().compute(predictions=points[::classes], references=points[:100])
    assert few < 0.25 * one["sliced_wasserstein"]


# precision, recall, density, coverage


def test_prdc_on_a_line_by_hand():
    """Real 0..5; generated 0.4, 0.6, 10, 10.1, 10.2; k = 1: real radii are 1."""
    real = torch.arange(6.0)[:, None]
    generated = torch.tensor([0.4, 0.6, 10.0, 10.1, 10.2])[:, None]
    values = PRDC(k=1).compute(predictions=generated, references=real)
    assert values["precision"] == 2 / 5
    assert values["density"] == pytest.approx((2 + 2) / 5)  # each in the balls of 0 and 1
    assert values["recall"] == 0  # balls of radius 0.2 around 0.4 and 0.6 hold no integer
    assert values["coverage"] == 2 / 6
    # k = 2: real radii 2, 1, 1, 1, 1, 2; the balls of 0.4 and 0.6 reach beyond all that is real
    values = PRDC(k=2).compute(predictions=generated, references=real)
    assert values["recall"] == 1 and values["coverage"] == 2 / 6 and values["density"] == 4 / 2 / 5


@pytest.mark.parametrize(("n", "m"), [(30, 25), (23, 40)])
def test_prdc_tile_by_tile_is_that_of_one_tile(monkeypatch, n, m):
    """Tiles of seven points, the last one smaller, beside all distances at once."""
    real, generated = normal(n, 2), 0.8 * normal(m, 2, seed=1) + 1.1
    radii, whole = prdc_module.neighbour_radii(real, 3), prdc(real, generated, 3)
    assert all(0.1 < whole[name] < 0.95 for name in ("precision", "recall", "coverage"))
    monkeypatch.setattr(prdc_module, "TILE", 7)
    torch.testing.assert_close(prdc_module.neighbour_radii(real, 3), radii, rtol=0, atol=0)
    assert prdc(real, generated, 3) == whole


def test_moments_block_by_block_are_those_of_one_block(monkeypatch):
    x, y = normal(30, 2), normal(40, 2, seed=1)
    whole = FID(extrapolate=True).compute(predictions=x, references=y)
    monkeypatch.setattr(fid_module, "BLOCK", 7)
    assert FID(extrapolate=True).compute(predictions=x, references=y) == pytest.approx(whole, rel=1e-9)


def test_prdc_of_a_set_with_itself():
    x = normal(60, 3)
    values = PRDC(k=4).compute(predictions=x, references=x)
    assert values == {"precision": 1, "recall": 1, "density": pytest.approx(5 / 4), "coverage": 1}


def test_prdc_in_many_dimensions_is_that_of_exact_distances():
    x, y = normal(40, 300), 0.9 * normal(50, 300, seed=1)
    torch.testing.assert_close(distances(x, y), (x[:, None] - y).norm(dim=2), rtol=1e-12, atol=0)
    wide = PRDC(3).compute(predictions=y, references=x)
    zeros = torch.zeros(1, 300).double()
    turn, _ = torch.linalg.qr(torch.cat([x, y, zeros]).T)  # the same distances in fewer dimensions
    narrow = PRDC(3).compute(predictions=y @ turn, references=x @ turn)
    assert turn.shape[1] <= 256 and wide == narrow and 0 < wide["recall"] < 1


# detection


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


# classes and modes


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


# points


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


WRONG = {
    "a number": (lambda: FID().add_batch(predictions=3.0), "got a single number"),
    "nan": (lambda: FID().add_batch(predictions=torch.full((2, 3), math.nan)), "the sampler has diverged"),
    "widths of batches": (
        lambda: _both(FID()),
        "samples have 3 features, the reference 2",
    ),
    "widths for kid": (lambda: _both(KID()), "samples have 3 features, the reference 2"),
    "widths for prdc": (lambda: _both(PRDC(1)), "samples have 3 features, the reference 2"),
    "a batch of another width": (
        lambda: _twice(KID()),
        "samples of 2 numbers after samples of 3",
    ),
    "too few": (lambda: PRDC(5).compute(predictions=normal(5, 2), references=normal(9, 2)), "at least 6"),
    "one side of a pair": (lambda: Detection().add_batch(predictions=normal(3)), "compares pairs"),
    "pairs of other lengths": (
        lambda: Detection().add_batch(predictions=normal(3), references=torch.ones(2)),
        "got 3 and 2 of them",
    ),
    "no outliers": (
        lambda: Detection().compute(predictions=normal(3), references=torch.zeros(3)),
        "needs both outliers and inliers",
    ),
    "labels": (
        lambda: ClassAccuracy().add_batch(predictions=torch.eye(3), references=torch.tensor([0, 1, 3])),
        "must be in 0..2",
    ),
    "modes": (lambda: ModeMass().add_batch(predictions=torch.tensor([-2])), "takes modes"),
}


def _both(metric):
    metric.compute(predictions=normal(4, 3), references=normal(4, 2))


def _twice(metric):
    metric.add_batch(predictions=normal(4, 3))
    metric.add_batch(predictions=normal(4, 2))


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_measured_is_refused_in_one_line(what):
    make, expected = WRONG[what]
    with pytest.raises(DataError) as caught:
        make()
    assert expected in str(caught.value) and "\n" not in str(caught.value)


KEPT = {
    FID: {"extrapolate": True},
    KID: {"num_subsets": 7, "subset_size": 30, "memory_mapped": True},
    PRDC: {"k": 4, "memory_mapped": False},
    InceptionScore: {"num_splits": 3},
    GridKL: {"half_width": 2.0, "per_side": 30},
    Recognised: {"confidence": 0.7},
    SlicedWasserstein: {"num_directions": 9},
}
DEFAULTS = {
    FID: [False],
    KID: [100, 1000, None],
    PRDC: [5, None],
    InceptionScore: [10],
    GridKL: [1.25, 200],
    Recognised: [0.9],
    SlicedWasserstein: [256],
}


@pytest.mark.parametrize("kind", KEPT)
def test_a_metric_keeps_what_it_was_made_with_and_is_published_where_nothing_is_set(kind):
    assert arguments_of(kind(**KEPT[kind]), "") == KEPT[kind]
    assert list(arguments_of(kind(), "").values()) == DEFAULTS[kind]


def test_kid_of_parts_is_that_of_each_part():
    """Of sets no larger than a subset; of larger ones, the mean over subsets of what they have of a part."""
    x, y = normal(12, 3), normal(9, 3, seed=1) + 0.5
    parts = [torch.arange(7), torch.tensor([11, 2, 5])]
    metric = KID()
    metric.add_batch(references=y)
    found = metric.of_parts(x, None, parts)
    assert [list(values) for values in found] == [["kid"]] * 2
    for values, part in zip(found, parts, strict=True):
        alone = KID().compute(predictions=x[part], references=y)["kid"]
        assert values["kid"] == pytest.approx(alone, rel=1e-6)
    few = KID(num_subsets=5, subset_size=6)
    few.add_batch(references=y)
    pairs = list(few._subsets(12, 9))
    members = [[int(k) for k in i if k in parts[1]] for i, _ in pairs]
    each = [float(polynomial_mmd(x[m], y[j])) for m, (_, j) in zip(members, pairs, strict=True) if len(m) > 1]
    assert 0 < len(each) < 5
    assert few.of_parts(x, None, parts)[1]["kid"] == pytest.approx(sum(each) / len(each), rel=1e-6)


def test_sets_of_a_subsets_size_are_compared_whole():
    x, y = normal(10, 3), normal(10, 3, seed=1)
    values = KID(subset_size=10).compute(predictions=x, references=y)
    assert values == {"kid": pytest.approx(float(polynomial_mmd(x, y)))}


def test_inception_scores_of_few_images():
    """Three images sure of one class each fill three splits of ten at most: 1 each."""
    values = InceptionScore().compute(predictions=torch.eye(3))
    assert values["is"] == pytest.approx(1) and values["is_sd"] == pytest.approx(0, abs=1e-9)
    two = InceptionScore(2).compute(predictions=torch.eye(2)[[0, 0]])
    assert two["is"] == pytest.approx(1) and len(InceptionScore(1).compute(predictions=torch.eye(3))) == 1


def test_scattered_indices_are_multiples_of_the_golden_ratio():
    assert scattered(torch.tensor([0, 1, 2, 3])).tolist() == [0, 2654435769, 1013904242, 3668340011]


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


def test_figures_of_nothing_are_refused():
    for metric, words in (
        (ClassAccuracy(), "class_accuracy was given no samples"),
        (Recognised(), "recognised was given no samples"),
        (InceptionScore(), "is was given no samples"),
        (GridKL(), "grid_kl was given no cells"),
        (ModeMass(), "mode_mass needs at least 1 predictions, got 0"),
    ):
        with pytest.raises(DataError, match=words):
            metric.compute()


def test_as_many_samples_as_are_needed_are_enough():
    x = normal(3, 2)
    assert FID().compute(predictions=x[:2], references=x[:2])["fid"] == pytest.approx(0, abs=1e-6)
    assert PRDC(2).compute(predictions=x, references=x)["recall"] == 1
    one = torch.zeros(1, dtype=torch.int64)
    assert ModeMass().compute(predictions=one, references=one)["total_variation"] == 0


def test_distances_are_exactly_zero_in_256_dimensions():
    """And beyond nearly so, by a product of matrices."""
    for dim, exact in ((256, True), (257, False)):
        x = 1e3 + normal(30, dim)
        apart = distances(x, x).diagonal()
        assert bool((apart == 0).all()) == exact and apart.max() < 1e-2
