"""The potential of a chain, and the recovery posterior of Gaussian data in closed form (spec §2, §3)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.noise import Noise
from modules.core.types import Transition
from modules.energies.analytic import MixtureEnergy
from modules.energies.recovery import RecoveryPotential
from modules.samplers.langevin import Langevin
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from tests.gaussian_oracle import ENERGY, MEAN, VARIANCE

torch.set_num_threads(1)

SCHEDULES = [CosineSchedule(), SubsampledLinearSchedule(), ContinuousSchedule()]


def _rows(schedule, t: int, count: int) -> Transition:
    return schedule.transition(torch.full((count,), t), torch.float64)


def _posterior(c: Transition, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and precision of y given x_t (2,), both (2,), by conditioning the joint Gaussian (y, x_t).

    x_t has the mean alpha_t m and the variance alpha_t² v + sigma_t²; its covariance with x_s is alpha_ts
    times the variance of x_s, of which y = y_scale x_s. At a top without tether y is independent of x_t.
    """
    c = c.map(lambda v: v[0])
    var_s, center = c.alpha_s**2 * VARIANCE + c.sigma_s**2, c.alpha_s * MEAN
    if not c.is_top:
        var_t, cov = c.alpha_t**2 * VARIANCE + c.sigma_t**2, c.alpha_ts * var_s
        center, var_s = center + cov / var_t * (x_t - c.alpha_t * MEAN), var_s - cov**2 / var_t
    return c.y_scale * center, 1 / (c.y_scale**2 * var_s)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("t", range(1, 7))
def test_potential_is_the_posterior_of_gaussian_data(schedule, t: int) -> None:
    """U is a quadratic with the posterior's mean as minimum and its precision as curvature, exactly."""
    c, x_t = _rows(schedule, t, 1), torch.tensor([0.9, -1.1]).double()
    potential = RecoveryPotential(ENERGY.at(c), c, x_t[None])
    mean, precision = _posterior(c, x_t)
    assert potential.grad(mean[None]).abs().max() < 1e-9 * precision.max()
    hessian = torch.autograd.functional.hessian(lambda y: potential(y[None]).sum(), mean + 0.1)
    torch.testing.assert_close(hessian, torch.diag(precision), rtol=1e-9, atol=1e-9)


def test_the_published_tether_is_as_it_was_to_the_bit() -> None:
    """In the y of spec §2 the stretch is 1: U = E/s² + ||y - x_t||²/(2σ_t²), as computed in float32."""
    for schedule in SCHEDULES[:2]:
        c = schedule.transition(torch.tensor([1, 2, 5, 6]))
        y, x_t = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
        precision = 1 / c.sigma_ts**2 * (~c.is_top)
        energy = ENERGY.at(c)
        wanted = energy(y) * (1 / c.energy_scale) + 0.5 * precision * ((y - x_t) ** 2).sum(1)
        assert torch.equal(RecoveryPotential(energy, c, x_t)(y), wanted)


def test_levels_mix_in_a_batch_and_the_top_ignores_x_t() -> None:
    c = CosineSchedule().transition(torch.tensor([1, 4, 6]), torch.float64)
    y, x_t = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = RecoveryPotential(ENERGY.at(c), c, x_t)
    for i in range(3):
        one = c.map(lambda v, i=i: v[i : i + 1])
        alone = RecoveryPotential(ENERGY.at(one), one, x_t[i : i + 1])
        torch.testing.assert_close(together.grad(y)[i : i + 1], alone.grad(y[i : i + 1]))
    moved = RecoveryPotential(ENERGY.at(c), c, x_t + 1)
    assert ((moved(y) - together(y)).abs() > 0.1).tolist() == [True, True, False]
    assert torch.equal(moved.grad(y)[2], together.grad(y)[2])


def test_value_and_gradient_agree_and_are_detached() -> None:
    energy = MixtureEnergy([[[[0.5]]], [[[-0.5]]]], 0.1)
    c = CosineSchedule().transition(torch.tensor([2, 6, 3]), torch.float64)
    x_t, y = torch.randn(2, 3, 1, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    potential = RecoveryPotential(energy.at(c), c, x_t)
    y = y.requires_grad_()
    value = potential(y)
    (wanted,) = torch.autograd.grad(value.sum(), y)
    for context in (torch.enable_grad, torch.no_grad):
        with context():
            same, grad = potential.value_and_grad(y)
            assert not same.requires_grad and not grad.requires_grad
            torch.testing.assert_close(same, value.detach(), rtol=1e-12, atol=0)
            torch.testing.assert_close(grad, wanted, rtol=1e-12, atol=0)
            assert torch.equal(potential.grad(y), grad)


@pytest.mark.parametrize(
    ("t", "factor"), [(1, 8.0), (1, 24.0), (3, 1.0), (3, 3.0), (5, 1.0), (5, 3.0), (6, 1.0), (6, 3.0)]
)
def test_long_chains_sample_the_posterior(t: int, factor: float) -> None:
    """4000 chains from afar end in the recovery posterior, whatever the step factor m.

    Known: mean, precision λ, and the steps' own enlargement of the variance, 1/(1 - m²s²λ/4). Mean and
    variance must match within 4 standard errors: 0.063 of a standard deviation, 9% of the variance. Chains
    start five standard deviations off and run until exp(-8) of that is left along the slowest axis.
    """
    count = 4_000
    c, x_t = _rows(CosineSchedule(), t, count), torch.tensor([0.4, -0.8]).double()
    mean, precision = _posterior(c, x_t)
    rate = (factor * c.step_size[0]) ** 2 * precision
    potential = RecoveryPotential(ENERGY.at(c), c, x_t.expand(count, 2))
    noise = Noise(t, torch.arange(count), dtype=torch.float64)
    start = (mean + 5 / precision.sqrt()).expand(count, 2)
    sampler = Langevin(math.ceil(16 / rate.min().item()), step_factor=factor)
    y = sampler.sample(potential, start, c.step_size, noise).y
    variance = 1 / (precision * (1 - rate / 4))
    assert ((y.mean(0) - mean) / (variance / count).sqrt()).abs().max() < 4
    assert (y.var(0) / variance - 1).abs().max() < 4 * math.sqrt(2 / count)
