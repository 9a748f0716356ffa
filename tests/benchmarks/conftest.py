"""What the tests of several benchmarks share."""

from __future__ import annotations

import pytest

from benchmarks.judge_digits import Judge


@pytest.fixture(scope="session")
def judge() -> Judge:
    """The judge of digits: its classifiers take seconds to fit."""
    return Judge.fit(seed=0)
