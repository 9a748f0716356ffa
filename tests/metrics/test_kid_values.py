"""The kernel distance by hand, of subsets, and of parts of a set."""

from __future__ import annotations

import math

import pytest
import torch

from modules.metrics.kid import KID, polynomial_mmd
from tests.metrics.drawn import normal

torch.set_num_threads(1)


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
