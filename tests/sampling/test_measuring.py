"""Inverse problems: the maps are linear; samples given measurements have the Gaussian's own posterior."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.analytic import GaussianEnergy
from modules.initializers.own import OwnProposal
from modules.methods.networks import Networks
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.samplers.hamiltonian import Hamiltonian
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw, sample_noise
from modules.sampling.generation import Generation
from modules.sampling.measuring import Blur, Downsampling, LinearMap, Measured, RandomPixels
from modules.schedules.continuous import ContinuousSchedule

torch.set_num_threads(1)

SHAPE = (1, 2, 2)
MEAN = torch.tensor([[[0.4, -0.3], [0.2, -0.6]]], dtype=torch.float64)
VARIANCE = torch.tensor([[[0.5, 0.1], [0.2, 0.05]]], dtype=torch.float64)
ENERGY = GaussianEnergy(SHAPE, MEAN, VARIANCE)
SCHEDULE = ContinuousSchedule(6)
SIGMA = 0.2
MAPS = {"down": Downsampling(2), "blur": Blur(0.7), "pixels": RandomPixels(0.5, seed=2)}


def _matrix(map: LinearMap) -> Tensor:
    """A (m, 4), by its columns."""
    return map(torch.eye(4, dtype=torch.float64).reshape(4, *SHAPE)).flatten(1).T


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_linear_and_no_larger_than_they_say(name):
    map, noise = MAPS[name], Noise(0, torch.arange(3), dtype=torch.float64)
    x, y = noise.normal("x", (2, 6, 4)), noise.normal("y", (2, 6, 4))
    torch.testing.assert_close(map(2 * x - 3 * y), 2 * map(x) - 3 * map(y))
    a = _matrix(map)
    largest = float(torch.linalg.eigvalsh(a @ a.T)[-1])
    assert 0.2 * map.norm_squared < largest <= map.norm_squared * (1 + 1e-9)


def test_what_the_maps_do():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert Downsampling(2)(x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    kept = RandomPixels(0.5)(torch.ones(3, 3, 8, 8))
    assert (
        0.3 < float(kept.mean()) < 0.7
        and torch.equal(kept[0], kept[2])
        and torch.equal(kept[:, 0], kept[:, 1])
    )
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1
    spread = Blur(1.0)(dot)[0, 0]
    ratio = float(spread[4, 5] / spread[4, 4])
    assert float(spread.sum()) == pytest.approx(1, abs=0.01) and ratio == pytest.approx(
        math.exp(-0.5), rel=1e-5
    )


def _posterior(map: LinearMap, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (4,) and covariance (4, 4) of x_0 given b, by linear algebra."""
    c = SCHEDULE.transition(torch.ones(1, dtype=torch.int64), torch.float64)
    alpha, noise = float(c.alpha_s), float(c.sigma_s) ** 2
    prior = torch.diag(1 / (alpha**2 * VARIANCE.flatten() + noise))
    a = _matrix(map) / alpha
    precision = 1 / (SIGMA**2 + map.norm_squared * noise / alpha**2)
    covariance = torch.linalg.inv(prior + precision * a.T @ a)
    return covariance @ (prior @ (alpha * MEAN.flatten()) + precision * a.T @ b), covariance


@pytest.mark.parametrize("name", MAPS)
def test_samples_have_the_posterior_of_a_gaussian(name):
    """Mean and covariance of 4,000 draws of p(x_0 | b) within 4 standard errors, by an exact last chain."""
    count, map = 4_000, MAPS[name]
    b = map((MEAN + torch.tensor([[[0.9, 0.4], [0.6, 0.5]]], dtype=torch.float64))[None])
    measured = Measured(b.expand(count, *b.shape[1:]), map, SIGMA)
    draw = Draw(
        torch.full((count,), -1), sample_noise(0, torch.arange(count), torch.float64), None, None, measured
    )
    generation = Generation(AdjustedLangevin(5, step_factor=0.5))
    own = OwnProposal(SHAPE, limit=None)
    x_0 = generation.sample(Networks(ENERGY, own, SCHEDULE), draw).levels[-1]
    exact = Hamiltonian(40, 5, num_warmup=60)
    x = generation.settle(Networks(ENERGY, own, SCHEDULE), exact, x_0, draw).flatten(1)
    mean, covariance = _posterior(map, b[0].flatten())
    error = (covariance.diagonal() / count).sqrt()
    assert ((x.mean(0) - mean).abs() < 4 * error).all(), (x.mean(0) - mean) / error
    off = (x.T.cov() - covariance).abs() / (covariance.diagonal()[:, None] * covariance.diagonal()).sqrt()
    assert off.max() < 5 * (2 / count) ** 0.5
    # the measurement matters: the prior's mean and variance are far
    assert ((mean - MEAN.flatten()).abs() / error).max() > 10


def test_the_walk_alone_goes_that_way_and_a_row_is_a_function_of_itself():
    count = 1_000
    map = Downsampling(2)
    b = map((MEAN + 0.4)[None])
    measured = Measured(b.expand(count, 1, 1, 1), map, SIGMA)
    draw = Draw(
        torch.full((count,), -1), sample_noise(0, torch.arange(count), torch.float64), None, None, measured
    )
    generation, own = Generation(Langevin(20, step_factor=0.5)), OwnProposal(SHAPE, limit=None)
    x = generation.sample(Networks(ENERGY, own, SCHEDULE), draw).x
    # of the posterior's 0.15, from the prior's -0.08
    assert 0 < float(map(x).mean()) < 0.2 and float(map(MEAN[None]).mean()) < -0.05
    part = draw.take(torch.tensor([7, 3]))
    alone = generation.sample(Networks(ENERGY, own, SCHEDULE), part).x
    torch.testing.assert_close(alone, x[[7, 3]], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Downsampling(0), "Downsampling.factor must be at least 1"),
        (lambda: Downsampling(3)(torch.zeros(1, 1, 8, 8)), "Downsampling.factor 3 doesn't divide"),
        (lambda: Blur(0), "Blur.width must be above 0"),
        (lambda: Blur()(torch.zeros(1, 2)), "Blur takes images"),
        (lambda: RandomPixels(0), "RandomPixels.share must be above 0"),
    ],
)
def test_faults_are_named(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()
