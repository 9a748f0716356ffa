"""The inception score of known probabilities, its splits, and their order."""

from __future__ import annotations

import math

import pytest
import torch

from modules.metrics.inception_score import InceptionScore
from modules.metrics.order import scattered
from modules.metrics.sliced_wasserstein import SlicedWasserstein
from tests.metrics.drawn import normal

torch.set_num_threads(1)


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


def test_inception_scores_of_few_images():
    """Three images sure of one class each fill three splits of ten at most: 1 each."""
    values = InceptionScore().compute(predictions=torch.eye(3))
    assert values["is"] == pytest.approx(1) and values["is_sd"] == pytest.approx(0, abs=1e-9)
    two = InceptionScore(2).compute(predictions=torch.eye(2)[[0, 0]])
    assert two["is"] == pytest.approx(1) and len(InceptionScore(1).compute(predictions=torch.eye(3))) == 1


def test_scattered_indices_are_multiples_of_the_golden_ratio():
    assert scattered(torch.tensor([0, 1, 2, 3])).tolist() == [0, 2654435769, 1013904242, 3668340011]
