"""-log p in three ways, of Gaussian data whose likelihood is known; the accounting of bits by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from modules.analysis.likelihood import (
    bits_per_dim,
    by_denoising,
    by_evaluation,
    cleanest,
    logsnr_cleanest,
    mean_and_error,
    normalization,
    unnormalized,
)
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.analytic import GaussianEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.linear import LinearSchedule
from tests.gaussian_oracle import MEAN, VARIANCE, data

torch.set_num_threads(1)

SCHEDULE = ContinuousSchedule(6)
LOGSNR = SCHEDULE.logsnr_max


class Oracle(GaussianEnergy):
    """N(m, v), whose E/σ̄ is normalized already, so that ℓ is 0 in place of D log σ̄."""

    def log_partition(self, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(logsnr), torch.zeros_like(logsnr)


def _energy() -> NormalizedEnergy:
    torch.manual_seed(0)
    return NormalizedEnergy(Oracle((2,), MEAN, VARIANCE)).double()


def _noise(count: int) -> Noise:
    return Noise(0, torch.arange(count), stream="likelihood", dtype=torch.float64)


def _truth(x: Tensor) -> Tensor:
    """-E_ε log p(x_0) given x (b, 2): of N(√ᾱ m, ᾱ v + σ̄²) at √ᾱ x + σ̄ ε."""
    alpha, noise = torch.sigmoid(torch.tensor(LOGSNR)).double(), torch.sigmoid(torch.tensor(-LOGSNR)).double()
    variance = alpha * VARIANCE + noise
    square = alpha * (x - MEAN) ** 2 + noise
    return 0.5 * ((2 * math.pi * variance).log() + square / variance).sum(1)


def test_one_evaluation_and_the_energy_without_its_constant():
    x, noise = data(_noise(4_000)), _noise(4_000)
    energy = _energy()
    found = by_evaluation(energy, LOGSNR, x, noise, draws=3)
    error = (found - _truth(x)).std() / 4_000**0.5
    assert abs(float((found - _truth(x)).mean())) < 4 * float(error) < 0.05
    # E/σ̄ of the same draws of x_0; log Z of this energy is 0
    torch.testing.assert_close(unnormalized(energy, SCHEDULE, x, noise, draws=3), found)
    assert not torch.equal(by_evaluation(energy, LOGSNR, x, noise), found)
    x_0 = cleanest(x, LOGSNR, noise)
    assert float((x_0 - x).std()) == pytest.approx(math.sqrt(1 / (1 + math.exp(LOGSNR))), rel=0.05)


def test_denoising_errors_give_each_points_likelihood():
    """Of single points far and near, the mean over 400 draws of all noises; no constant enters."""
    points = torch.tensor([[0.6, -0.3], [2.0, -0.3], [0.6, 0.1], [-0.9, -0.6]]).double()
    x = points.repeat_interleave(400, 0)
    energy = _energy()
    energy.constant.fill_(17.0)
    nn.init.normal_(energy.head.weight)
    found = by_denoising(energy, SCHEDULE, x, _noise(1600), 32).reshape(4, 400)
    error = found.std(1) / 20
    assert ((found.mean(1) - _truth(points)).abs() < 4 * error).all()
    assert (error < 0.2).all()


def test_denoising_errors_by_few_levels_are_unbiased():
    """Places are drawn within their parts of the range, so that few are noisier and no other on average."""
    x = data(_noise(3_000))
    few, many = (by_denoising(_energy(), SCHEDULE, x, _noise(3_000), n) for n in (3, 48))
    assert few.std() > 1.5 * many.std()
    mean, error = mean_and_error(few - _truth(x))
    assert abs(mean) < 4 * error
    mean, error = mean_and_error(many - _truth(x))
    assert abs(mean) < 4 * error < 0.15


def test_the_parts_of_the_constant():
    energy = NormalizedEnergy(GaussianEnergy((2,), MEAN, VARIANCE)).double()
    torch.manual_seed(1)
    nn.init.normal_(energy.head.weight)
    energy.constant.fill_(-3.0)
    parts = normalization(energy, 2.0)
    assert parts.partition == pytest.approx(-math.log1p(math.exp(2.0)))  # D log σ̄, D = 2
    assert parts.constant == 3.0 and abs(parts.learned) > 0.01
    x, at = data(_noise(5)), torch.full((5,), 2.0).double()
    u = energy.potential(x, at)
    of_gaussian = u - parts.log_z
    alpha, noise = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(2.0))
    law = torch.distributions.Normal(alpha**0.5 * MEAN, (alpha * VARIANCE + noise).sqrt())
    torch.testing.assert_close(of_gaussian, -law.log_prob(x).sum(1))


def test_bits_of_a_grey_value():
    """Uniform over the range of 17 steps of 1/8: log2 17 bits, whatever the number of pixels."""
    for size in (1, 64):
        nats = torch.tensor([size * math.log(17 / 8)])
        assert float(bits_per_dim(nats, size, 40.0, 17)) == pytest.approx(math.log2(17), rel=1e-6)
    # scaled by √ᾱ = ½ the density is twice as high in each dimension: ᾱ = ¼ is λ = -log 3
    scaled = torch.tensor([64 * math.log(17 / 8 / 2)])
    assert float(bits_per_dim(scaled, 64, -math.log(3), 17)) == pytest.approx(math.log2(17), rel=1e-6)
    assert float(bits_per_dim(torch.zeros(1), 3, 60.0, 256)) == pytest.approx(math.log2(127.5))


def test_mean_and_error():
    assert mean_and_error(torch.tensor([1.0, 3.0])) == pytest.approx((2.0, 1.0))


def test_the_cleanest_level():
    assert logsnr_cleanest(SCHEDULE) == pytest.approx(9.8)
    assert logsnr_cleanest(CosineSchedule()) == pytest.approx(9.8)
    with pytest.raises(ConfigurationError, match="level 0 of a LinearSchedule is clean"):
        logsnr_cleanest(LinearSchedule(10))
    with pytest.raises(ConfigurationError, match="draws"):
        by_evaluation(_energy(), LOGSNR, torch.zeros(1, 2).double(), _noise(1), draws=0)
    with pytest.raises(ConfigurationError, match="levels"):
        by_denoising(_energy(), SCHEDULE, torch.zeros(1, 2).double(), _noise(1), 0)
