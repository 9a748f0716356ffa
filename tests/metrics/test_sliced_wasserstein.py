"""The distance that watches samples, against Gaussians for which it is known."""

from __future__ import annotations

import math

import pytest
import torch

from modules.metrics.sliced_wasserstein import sliced_wasserstein


def _normals(n: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def test_a_shift_and_a_scale_of_a_gaussian():
    """Along a direction u the distance of N(0, 1) to N(m·u, s²) is √((m·u)² + (1-s)²); E (m·u)² = |m|²/d."""
    a, b = _normals(4000, 4, 0), _normals(4000, 4, 1)
    shift = torch.tensor([2.0, 0.0, 0.0, 0.0])
    assert sliced_wasserstein(a, a.flip(0)) == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(a, b) < 0.08
    assert sliced_wasserstein(a, b + shift) == pytest.approx(1.0, rel=0.12)
    assert sliced_wasserstein(a, 1.5 * b + shift) == pytest.approx(math.sqrt(1.25), rel=0.1)


def test_it_is_a_distance_of_sets():
    a, b = _normals(100, 3, 0), 2 * _normals(100, 3, 1)
    shuffled = b[torch.randperm(100, generator=torch.Generator().manual_seed(2))]
    assert sliced_wasserstein(a, b) == pytest.approx(sliced_wasserstein(shuffled, a), rel=1e-12)


def test_images_are_compared_as_vectors():
    a, b = _normals(60, 12, 0), _normals(60, 12, 1) + 1
    folded = sliced_wasserstein(a.reshape(60, 3, 2, 2), b.reshape(60, 3, 2, 2))
    assert folded == sliced_wasserstein(a, b)


def test_collapse_shows():
    """Samples that are all the mean are far from data, farther than data from data."""
    a, b = _normals(500, 8, 0), _normals(500, 8, 1)
    assert sliced_wasserstein(a, torch.zeros_like(a)) == pytest.approx(1.0, rel=0.05)
    assert sliced_wasserstein(a, b) < 0.2
