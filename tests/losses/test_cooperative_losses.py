"""The initializer's losses, and what the warm start's regression finds on Gaussian data (spec §5)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.losses.cooperative import CooperativeLoss, WarmStart
from modules.schedules.cosine import CosineSchedule
from modules.schedules.forward import independent_pair, shared_noise_pair
from tests.gaussian_oracle import MEAN, VARIANCE, data
from tests.golden_weights import golden

torch.set_num_threads(1)


def test_cooperative_loss_sums_over_elements_and_averages_over_samples() -> None:
    """Distances² 4·9 and 4·1 of two 1x2x2 images: mean 20."""
    proposal = torch.zeros(2, 1, 2, 2, requires_grad=True)
    revised = torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2).clone().requires_grad_()
    loss = CooperativeLoss()(proposal, revised)
    assert loss.item() == 20.0
    loss.backward()
    assert revised.grad is None  # the chain's end is a target
    assert proposal.grad is not None and torch.equal(proposal.grad, (-revised).detach())


N = 100_000


def _regression(t: int, pair) -> tuple[Tensor, Tensor, Tensor]:
    """The affine g(x_t) = slope (x_t - alpha_t m) + center, per axis, that minimizes WarmStart on N points.

    Slope and center (2,), and the standard error of the center, a bound for both axes. The loss is
    quadratic in both, so one Newton step from its own derivatives is exact.
    """
    c = CosineSchedule().transition(torch.full((N,), t), torch.float64)
    noise = Noise(t, torch.arange(N), dtype=torch.float64)
    x = data(noise)
    _, x_t = pair(x, c, noise)
    centered = x_t - c.alpha_t[:, None] * MEAN

    def loss(theta: Tensor) -> Tensor:
        return WarmStart(10)(theta[:2] * centered + theta[2:], x, x_t, c)

    theta = torch.zeros(4, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(loss, theta)
    best = theta - torch.linalg.solve(hessian, torch.autograd.functional.jacobian(loss, theta))
    left = loss(best) / (hessian[2, 2] / 2)  # residual variance of both axes together
    return best[:2], best[2:], (left / N).sqrt()


@pytest.mark.parametrize("pair", [shared_noise_pair, independent_pair])
@pytest.mark.parametrize("t", [1, 2, 4, 6])
def test_warm_start_finds_the_forward_posteriors_mean(t: int, pair) -> None:
    """E[y | x_t] of Gaussian data, in closed form, from either pair: y = √α_t x_s, or x_s at the top.

    slope = y_scale √α_t V_s/V_t and center = y_scale √ᾱ_s m, V the variances of x_s and x_t. Regressing on
    the shared-noise x_s itself would give the slope y_scale Cov(x_s, x_t)/V_t with another covariance,
    σ̄_s σ̄_t in place of √α_t σ̄_s²: 10 times the tolerance away at least
    (but at t = 1, where x_s has next to no noise).
    """
    c = CosineSchedule().transition(torch.tensor([t]), torch.float64)
    scale = 1.0 if t == 6 else c.alpha_ts
    var_s = c.alpha_s**2 * VARIANCE + c.sigma_s**2
    var_t = c.alpha_t**2 * VARIANCE + c.sigma_t**2
    slope, center, error = _regression(t, pair)
    wanted = scale * c.alpha_ts * var_s / var_t
    tolerance = 4 * error / var_t.sqrt()
    assert ((slope - wanted).abs() < tolerance).all()
    assert ((center - scale * c.alpha_s * MEAN).abs() < 4 * error).all()
    shared = scale * (c.alpha_s * c.alpha_t * VARIANCE + c.sigma_s * c.sigma_t) / var_t
    assert t == 1 or ((shared - wanted).abs() / tolerance).max() > 10


def test_warm_start_weighs_levels_by_the_posteriors_width() -> None:
    """An error of 1 in each of three elements costs 3/(β̃_t α_t + 0.001), by the published table."""
    recorded = golden("cdrl_schedule")
    c = CosineSchedule().transition(torch.tensor([2]), torch.float64)
    x, x_t = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    warm = WarmStart(1)
    # where the loss is 0, then 1 away from there
    best = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(warm(best, x, x_t, c), best)
    weight = 1 / (recorded["posterior_var"][1] * recorded["alpha_ratio"][1] + 1e-3)
    best = best.detach() - grad / (2 * weight)
    assert warm(best, x, x_t, c).item() == pytest.approx(0, abs=1e-6)
    assert warm(best + 1, x, x_t, c).item() == pytest.approx(3 * weight.item(), rel=1e-5)


def test_energy_starts_after_the_warm_start_unless_told() -> None:
    assert WarmStart(100).energy_start == 100
    assert WarmStart(100, energy_start=0).energy_start == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WarmStart(-1), ["WarmStart.num_steps", "at least 0"]),
        (lambda: WarmStart(10, energy_start=11), ["WarmStart.energy_start", "at most 10", "11"]),
        (lambda: WarmStart(10, offset=0), ["WarmStart.offset", "above 0"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)
