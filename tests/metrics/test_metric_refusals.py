"""What cannot be measured is refused in one line; what just can be is; what a metric was made with."""

from __future__ import annotations

import math

import pytest
import torch

from modules.core.arguments import arguments_of
from modules.core.checks import DataError
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.detection import Detection
from modules.metrics.fid import FID
from modules.metrics.grid_kl import GridKL
from modules.metrics.inception_score import InceptionScore
from modules.metrics.kid import KID
from modules.metrics.mode_mass import ModeMass
from modules.metrics.prdc import PRDC
from modules.metrics.recognised import Recognised
from modules.metrics.sliced_wasserstein import SlicedWasserstein
from tests.metrics.drawn import normal

torch.set_num_threads(1)

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
