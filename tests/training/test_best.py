"""The best step: the first of the lowest, or highest, values; a NaN never is."""

from __future__ import annotations

import math

import pytest

from modules import config
from modules.core.checks import ConfigurationError
from modules.training.best import Best
from tests.tiny import TINY

VALUES = [2.0, math.nan, 1.0, 1.0, -math.inf, 3.0, 0.5, 0.7]


def _steps(rule: Best) -> list[int]:
    best, steps = None, []
    for step, value in enumerate(VALUES):
        best = rule.after(best, step, value)
        steps.append(best["step"])
    return steps


def test_the_best_so_far():
    assert _steps(Best()) == [0, 0, 2, 2, 2, 2, 6, 6]
    assert _steps(Best(lower_is_better=False)) == [0, 0, 0, 0, 0, 5, 5, 5]


def test_nothing_is_best_before_a_number():
    assert Best().after(None, 1, math.nan) is None
    assert Best().after(None, 2, 5.0) == {"metric": "sample_distance", "value": 5.0, "step": 2}


def test_a_best_by_another_metric_counts_for_nothing():
    before = {"metric": "another", "value": 0.1, "step": 1}
    assert Best().after(before, 2, 5.0)["value"] == 5.0


def test_a_metric_that_nobody_measures_is_one_line(tmp_path):
    """A trainer knows what is measured; "fid" needs an evaluation during training."""
    (tmp_path / "run.gin").write_text(TINY + 'Best.metric = "fid"\n')
    with pytest.raises(
        ConfigurationError, match=r"Best\.metric.* must be one of 'sample_distance', got 'fid'"
    ):
        config.load([str(tmp_path / "run.gin")]).build("Trainer")
