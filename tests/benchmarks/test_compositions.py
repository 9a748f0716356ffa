"""The scripts that judge compositions and sweeps count what they say they count."""

from __future__ import annotations

import pytest
import torch

from benchmarks import digits_product
from benchmarks.judge_digits import Judge, real_digits
from benchmarks.ranges import spread

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.fit()


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
