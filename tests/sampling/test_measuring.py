"""Inverse problems: the maps are linear; samples given measurements have the Gaussian's own posterior."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.arguments import arguments_of
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
from modules.schedules.cosine import CosineSchedule

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


class Flat:
    """U = 3 everywhere, of slope 2."""

    def __call__(self, y: Tensor) -> Tensor:
        return torch.full((len(y),), 3.0, dtype=y.dtype)

    def grad(self, y: Tensor) -> Tensor:
        return torch.full_like(y, 2.0)

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self(y), self.grad(y)


def test_the_misfit_by_hand():
    """Of y = y_scale √ᾱ x with means x̄ = 0.5 and 0.25 beside b = 0.3 and 0.65, |A|² = 1/4.

    U = (x̄ - b)²/(2(σ² + σ̄²/4ᾱ)), and a pixel's slope is a quarter of x̄'s, by the chain rule over y_scale √ᾱ.
    """
    c = CosineSchedule(logsnr_max=1.0).transition(torch.tensor([1, 4]), torch.float64)
    scale = c.y_scale * c.alpha_s
    means, b = torch.tensor([0.5, 0.25]).double(), torch.tensor([0.3, 0.65]).double()
    x = means[:, None, None, None] + torch.tensor([[[[0.1, -0.1], [0.3, -0.3]]]]).double()
    tied = Measured(b.reshape(2, 1, 1, 1), Downsampling(2), 0.5).tie(Flat(), c)
    variance = 0.25 + 0.25 * (c.sigma_s / c.alpha_s) ** 2
    y = (scale.reshape(2, 1, 1, 1) * x).requires_grad_()
    away = torch.tensor([0.2, -0.4]).double()
    misfit = away**2 / (2 * variance)
    slope = (0.25 * away / variance / scale).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    torch.testing.assert_close(tied(y), 3 + misfit)
    for value, grad in (tied.value_and_grad(y), (3 + misfit, tied.grad(y))):
        torch.testing.assert_close(value, 3 + misfit)
        torch.testing.assert_close(grad, 2 + slope)
        assert not value.requires_grad and not grad.requires_grad
    assert torch.equal(tied.y_scale, c.y_scale) and (c.y_scale < 1).all()


def test_a_blur_reaches_three_widths_and_mixes_no_channels():
    """Of a dot in one of two channels: two Gaussians' product, 7 x 7 of width 1, 3 x 3 of the narrowest."""
    dot = torch.zeros(1, 2, 9, 9, dtype=torch.float64)
    dot[0, 1, 4, 4] = 1
    for width, reach in ((1.0, 3), (0.2, 1), (0.5, 2)):
        spread = Blur(width)(dot)
        line = [math.exp(-0.5 * (k / width) ** 2) if abs(k) <= reach else 0.0 for k in range(-4, 5)]
        line = torch.tensor(line).double() / sum(line)
        torch.testing.assert_close(spread[0, 1], line[:, None] * line, rtol=1e-6, atol=1e-12)
        assert (spread[0, 0] == 0).all() and spread.shape == dot.shape
    # and at a corner what lies beyond the edge is 0
    assert float(Blur(1.0)(torch.ones(1, 1, 9, 9))[0, 0, 0, 0]) < 0.6


def test_maps_of_their_own_defaults_and_of_points():
    assert Downsampling().factor == 2 and Downsampling().norm_squared == 0.25
    assert Downsampling(4).norm_squared == 1 / 16 and Blur.norm_squared == RandomPixels.norm_squared == 1
    assert [*arguments_of(Blur(), "").values(), *arguments_of(RandomPixels(), "").values()] == [1.0, 0.5, 0]
    assert arguments_of(RandomPixels(0.2, 7), "") == {"share": 0.2, "seed": 7}
    points = torch.ones(4, 400)
    kept = RandomPixels(0.3)(points)
    assert torch.equal(kept, kept[:1].expand_as(kept)) and 0.2 < float(kept.mean()) < 0.4
    assert not torch.equal(kept, RandomPixels(0.3, seed=1)(points))
    assert torch.equal(RandomPixels(1.0)(points), points)
    for shape in ((1, 1, 4, 6), (1, 1, 6, 4), (2, 4)):
        with pytest.raises(ConfigurationError, match=r"Downsampling\.factor 4 doesn't divide"):
            Downsampling(4)(torch.zeros(shape))
