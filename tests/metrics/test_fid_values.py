"""Fréchet's distance against closed forms and SciPy; its extrapolation to all samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

import modules.metrics.fid as fid_module
from modules.core.checks import DataError
from modules.metrics.fid import FID, frechet_distance
from tests.metrics.drawn import FLOAT64, normal

torch.set_num_threads(1)


def covariance(dim: int, seed: int) -> Tensor:
    a = normal(dim, dim, seed=seed)
    return a @ a.T / dim + 0.1 * torch.eye(dim, dtype=FLOAT64)


def with_moments(n: int, mean: Tensor, cov: Tensor, seed: int) -> Tensor:
    """n samples whose mean and unbiased covariance are exactly these."""
    z = normal(n, len(mean), seed=seed)
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / (n - 1))).T
    return mean + z @ torch.linalg.cholesky(cov).T


def test_frechet_of_commuting_gaussians():
    """Diagonal covariances: |m|² + Σ (√a - √b)²."""
    a, b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 1.0])
    mean = torch.tensor([1.0, 2.0, 2.0])
    exact = 9 + 1 + 0 + 4
    assert frechet_distance(mean, a.diag(), 0 * mean, b.diag()) == pytest.approx(exact, rel=1e-12)


def test_frechet_against_scipy_and_of_a_singular_covariance():
    a, b, m = covariance(12, 1), covariance(12, 2), normal(12, seed=3)
    exact = float(m @ m + a.trace() + b.trace() - 2 * np.trace(sqrtm(a.numpy() @ b.numpy()).real))
    assert frechet_distance(m, a, 0 * m, b) == pytest.approx(exact, rel=1e-9)
    assert frechet_distance(m, b, 0 * m, a) == pytest.approx(exact, rel=1e-9)
    flat = normal(12, 3, seed=4)
    flat = flat @ flat.T  # rank 3
    assert frechet_distance(m, flat, m, flat) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(m, flat, m, 4 * flat) == pytest.approx(float(flat.trace()), rel=1e-6)


def test_fid_of_samples_with_known_moments():
    a, b, m = covariance(6, 1), covariance(6, 2), normal(6, seed=3)
    fid = FID()
    fid.add_batch(predictions=with_moments(50, m, a, 4), references=with_moments(70, 0 * m, b, 5))
    assert fid.compute()["fid"] == pytest.approx(frechet_distance(m, a, 0 * m, b), rel=1e-10)
    assert len(fid) == 0  # computed and forgotten
    with pytest.raises(DataError, match="fid needs at least 2 predictions, got 0"):
        fid.compute()


def test_the_extrapolation_takes_the_bias_away():
    """N(0, I) against its exact moments: the distance is 0, and of N samples above it by about c/N."""
    dim, mean, cov = 16, torch.zeros(16).double(), torch.eye(16).double()
    fid = FID(extrapolate=True)
    values = fid.compute(predictions=normal(3000, dim), references=with_moments(500, mean, cov, 1))
    bias = values["fid"]
    assert bias == pytest.approx((dim + dim * (dim + 1) / 4) / 3000, rel=0.3)  # E|m|² + E||S - I||²/4
    assert abs(values["fid_infinity"]) < 0.25 * bias


def test_the_line_is_fitted_to_15_subsets_from_a_tenth_to_all(monkeypatch):
    fid, counts = FID(extrapolate=True), []
    distance = fid._distance
    monkeypatch.setattr(fid, "_distance", lambda found: counts.append(found.count) or distance(found))
    fid.compute(predictions=normal(200, 3), references=normal(200, 3, seed=1))
    whole, *sizes = counts
    assert whole == 200 and len(sizes) == 15 and sorted(set(sizes)) == sizes
    assert (sizes[0], sizes[-1]) == (20, 200)


def test_moments_block_by_block_are_those_of_one_block(monkeypatch):
    x, y = normal(30, 2), normal(40, 2, seed=1)
    whole = FID(extrapolate=True).compute(predictions=x, references=y)
    monkeypatch.setattr(fid_module, "BLOCK", 7)
    assert FID(extrapolate=True).compute(predictions=x, references=y) == pytest.approx(whole, rel=1e-9)
