"""Separation of scores against scikit-learn; sets made from inliers; equal resizing."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from modules.analysis.detection import MADE, by_way_of, chosen, make, separation
from modules.data.digits import Digits
from modules.tasks import detect

DIGITS = Digits(part="held_out").open().rows(torch.arange(360))[0]


@pytest.mark.parametrize("digits", [8, 1])  # with one decimal many scores are equal
def test_the_figures_are_scikit_learn_s(digits):
    generator = torch.Generator().manual_seed(0)
    inliers = torch.randn(300, generator=generator).double().round(decimals=digits)
    outliers = (torch.randn(120, generator=generator).double() + 1).round(decimals=digits)
    truth, score = [0] * 300 + [1] * 120, torch.cat([inliers, outliers])
    figures = separation(inliers, outliers)
    assert figures["auroc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert figures["aupr"] == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    false, hit, _ = roc_curve(truth, score, drop_intermediate=False)
    assert figures["fpr95"] == pytest.approx(false[hit >= 0.95].min(), abs=1e-12)
    assert separation(outliers, inliers)["auroc"] == pytest.approx(1 - figures["auroc"])


def test_a_choice_is_a_random_part_without_repetition():
    examples = Digits().open()
    rows = chosen(examples, 50, 0)
    assert len(set(rows.tolist())) == 50 and not torch.equal(rows, chosen(examples, 50, 1))
    assert torch.equal(rows[:20], chosen(examples, 20, 0)) and len(chosen(examples, 10**4, 0)) == 1437


def test_sets_made_from_inliers():
    made = {name: make(name, DIGITS, 0) for name in MADE}
    for name, images in made.items():
        assert images.shape == DIGITS.shape and images.dtype == torch.float32
        grey = (images + 1) * 127.5
        torch.testing.assert_close(grey, grey.round(), rtol=0, atol=1e-4)  # 8 bits, as the inliers
        assert torch.equal(images, make(name, DIGITS, 0)), name
        assert torch.equal(images, make(name, DIGITS, 1)) == (name == "inverted")
    torch.testing.assert_close(made["inverted"], -DIGITS, rtol=0, atol=1e-6)
    assert abs(float(made["uniform"].var()) - 1 / 3) < 0.01
    halves = 2 * made["interpolated"] - DIGITS  # the other of each pair: another digit
    gaps = (halves[:40, None] - DIGITS).abs().amax((2, 3, 4))
    assert (gaps.amin(1) < 0.01).all() and (gaps.argmin(1) != torch.arange(40)).all()
    assert tuple(MADE) == detect.MADE


def test_points_made_from_points_are_neither_clipped_nor_rounded():
    points = 4 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make("inverted", points, 0), -points)
    assert make("gaussian", points, 0).std() == pytest.approx(float(points.std()), rel=0.3)


def test_by_way_of_a_smaller_size_nothing_fine_is_left():
    checks = torch.ones(2, 1, 8, 8)
    checks[:, :, ::2, ::2] = checks[:, :, 1::2, 1::2] = -1
    assert by_way_of(checks, 4)[:, :, 2:6, 2:6].abs().max() < 0.05
    smooth = torch.linspace(-0.7, 0.7, 8).expand(2, 1, 8, 8)
    torch.testing.assert_close(by_way_of(smooth, 4)[..., 2:6], smooth[..., 2:6], rtol=0, atol=0.02)
