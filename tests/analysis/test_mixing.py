"""Autocorrelation times of processes whose time is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.analysis.mixing import autocorrelation_time, class_changes, over_time
from modules.core.noise import Noise


def _autoregressive(rho: float, length: int, chains: int) -> Tensor:
    """x_k = ρ x_{k-1} + √(1-ρ²) z, from its law: τ = (1 + ρ)/(1 - ρ)."""
    noise = Noise(0, torch.arange(chains), stream="mixing", dtype=torch.float64)
    x = [noise.normal("x", (1,))]
    for z in noise.normals("z", (1,), length - 1):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * z)
    return torch.cat(x, 1).T


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_time_of_an_autoregressive_process(rho):
    assert autocorrelation_time(_autoregressive(rho, 2_000, 20)) == pytest.approx(
        (1 + rho) / (1 - rho), rel=0.15
    )


def test_chains_that_stay_apart_are_slow():
    """Each is white about a mean of its own, which none ever leaves."""
    apart = _autoregressive(0.0, 400, 10) + 5 * torch.arange(10)
    assert autocorrelation_time(apart) > 50 > 3 > autocorrelation_time(apart[:, :1])


def test_over_time():
    """Fast in the first half, slow in the second."""
    both = torch.cat([_autoregressive(0.0, 800, 20), _autoregressive(0.9, 800, 20)])
    times = over_time(both, 4)
    assert times.shape == (4,) and (times[:2] < 2).all() and (times[2:] > 8).all()
    assert math.isnan(autocorrelation_time(torch.full((50, 3), 2.0)))


def test_changes_of_class_are_counted_where_both_are_known():
    """Of chains 3 3 5 5, 1 1 1 1 and 2 - 2 4: two changes of the seven steps between known classes."""
    classes = torch.tensor([[3, 3, 5, 5], [1, 1, 1, 1], [2, -1, 2, 4]]).T
    assert class_changes(classes) == pytest.approx(2 / 7)
    assert math.isnan(class_changes(torch.full((4, 2), -1)))
