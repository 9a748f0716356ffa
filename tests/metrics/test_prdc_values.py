"""Precision, recall, density and coverage by hand; the distances that they rest on."""

from __future__ import annotations

import pytest
import torch

import modules.metrics.prdc as prdc_module
from modules.metrics.prdc import PRDC, distances, prdc
from tests.metrics.drawn import normal

torch.set_num_threads(1)


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


def test_distances_are_exactly_zero_in_256_dimensions():
    """And beyond nearly so, by a product of matrices."""
    for dim, exact in ((256, True), (257, False)):
        x = 1e3 + normal(30, dim)
        apart = distances(x, x).diagonal()
        assert bool((apart == 0).all()) == exact and apart.max() < 1e-2
