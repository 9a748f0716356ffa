"""Embeddings of noise level and label."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from modules.layers.embeddings import (
    LevelEmbedding,
    level_position,
    logsnr_position,
    one_hot_label,
    sinusoid,
    sinusoid_slope,
)


def test_position_of_known_levels() -> None:
    logsnr = torch.tensor([0.0, 20.0, 1e9, math.inf, -20.0, -math.inf]).double()
    position = logsnr_position(logsnr)
    assert position[0] == 500.0  # atan(1) is half of a right angle
    assert torch.equal(position[1], position[2]) and torch.equal(position[1], position[3])
    assert torch.equal(position[4], position[5])
    assert 0 < position[1] < 0.1 and 999.9 < position[4] < 1000
    # u and 1 - u swap when signal and noise do
    torch.testing.assert_close(
        logsnr_position(logsnr) + logsnr_position(-logsnr), torch.full_like(logsnr, 1000.0)
    )


def test_sinusoid_frequencies() -> None:
    zero = sinusoid(torch.zeros(1).double(), 8)
    assert torch.equal(zero, torch.tensor([[0.0] * 4 + [1.0] * 4]).double())
    # the first frequency is 1, the last 1/10000, a constant ratio between
    quarter = sinusoid(torch.tensor([math.pi / 2, math.pi / 2 * 1e4]).double(), 8)
    torch.testing.assert_close(quarter[0, 0].item(), 1.0)
    torch.testing.assert_close(quarter[1, 3].item(), 1.0)
    small = sinusoid(torch.tensor([1e-6]).double(), 8)[0, :4]
    torch.testing.assert_close(small[1:] / small[:-1], torch.full((3,), 10 ** (-4 / 3)).double())


def test_odd_sinusoid_ends_in_zero() -> None:
    odd = sinusoid(torch.tensor([3.0, 4.0]), 9)
    assert odd.shape == (2, 9) and (odd[:, 8] == 0).all()
    assert torch.equal(odd[:, :8], sinusoid(torch.tensor([3.0, 4.0]), 8))


def test_labels_move_up_by_one_and_none_is_column_zero() -> None:
    like = torch.zeros(3, 2).double()
    got = one_hot_label(torch.tensor([-1, 0, 4]), 5, like)
    assert got.dtype == torch.float64 and got.shape == (3, 6)
    assert got.argmax(1).tolist() == [0, 1, 5] and torch.equal(got.sum(1), torch.ones(3).double())
    assert torch.equal(one_hot_label(None, 5, like), one_hot_label(torch.full((3,), -1), 5, like))


def test_waves_of_levels_are_as_fast_everywhere() -> None:
    """Waves in 20 of λ; beyond ±20, where no level is learned, they stand still."""
    logsnr = torch.tensor([-10.0, 10.0, 20.0, math.inf, -math.inf], dtype=torch.float64)
    position, rate = level_position(logsnr, 40.0)
    assert position.tolist() == [0.0, 40.0, 60.0, 60.0, -20.0] and rate == 2.0


@pytest.mark.parametrize("dim", [8, 9])
def test_slopes_of_waves_and_of_the_embedding(dim: int) -> None:
    """The tangents are autograd's: of a sinusoid, and of an embedding with labels."""
    torch.manual_seed(0)
    position = torch.tensor([0.3, 4.0, -7.0], dtype=torch.float64)
    embedding = LevelEmbedding(dim, 12, 3, F.silu).double()
    label = torch.tensor([0, -1, 2])
    _, moved = torch.func.jvp(lambda p: sinusoid(p, dim), (position,), (torch.ones_like(position),))
    torch.testing.assert_close(sinusoid_slope(position, dim), moved, rtol=1e-12, atol=1e-14)
    value, tangent = embedding.with_tangent(position, label)
    torch.testing.assert_close(value, embedding(position, label), rtol=1e-13, atol=1e-15)
    wanted = torch.func.jvp(lambda p: embedding(p, label), (position,), (torch.ones_like(position),))[1]
    torch.testing.assert_close(tangent, wanted, rtol=1e-12, atol=1e-14)
