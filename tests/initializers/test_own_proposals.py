"""Proposals of the energy's own: closed forms for Gaussian data (spec §9, §13)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Transition
from modules.energies.analytic import GaussianEnergy
from modules.energies.mlp import MLPEnergy
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.guidance.none import NoGuidance
from modules.guidance.proposal import proposal_mean
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import GaussianStep, OwnProposal
from modules.methods.networks import Networks
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.sampling.indexed import sample
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.levels import level
from modules.schedules.linear import LinearSchedule
from tests.gaussian_oracle import ENERGY, MEAN, VARIANCE

torch.set_num_threads(1)

X_T = torch.tensor([[0.9, -1.1], [-2.0, 0.3], [0.1, 0.2]], dtype=torch.float64)
NONE = torch.full((3,), -1)


def _mean(initializer, c: Transition, x_t: Tensor = X_T, energy=ENERGY, guidance=None) -> Tensor:
    return proposal_mean(guidance or NoGuidance(), energy, initializer, x_t, c, NONE)


def _denoised(c: Transition, x_t: Tensor) -> Tensor:
    """E[x | x_t] of the Gaussian data, by conditioning."""
    alpha, sigma = c.alpha_t[:, None], c.sigma_t[:, None]
    return MEAN + alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2) * (x_t - alpha * MEAN)


def _recovery(c: Transition, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x_s given x_t, by conditioning."""
    alpha, alpha_ts = c.alpha_s[:, None], c.alpha_ts[:, None]
    var_s, var_t = (
        a[:, None] ** 2 * VARIANCE + s[:, None] ** 2
        for a, s in ((c.alpha_s, c.sigma_s), (c.alpha_t, c.sigma_t))
    )
    mean = alpha * MEAN + alpha_ts * var_s / var_t * (x_t - c.alpha_t[:, None] * MEAN)
    return mean, var_s - (alpha_ts * var_s) ** 2 / var_t


@pytest.mark.parametrize("schedule", [ContinuousSchedule(), CosineSchedule(), LinearSchedule(10, 0.01, 0.3)])
@pytest.mark.parametrize("t", [1, 4, 6])
def test_own_proposal_is_the_posterior_of_its_denoised_image(schedule, t: int) -> None:
    """E[x_s | x_t] of Gaussian data: the posterior's mean is linear in x, so E[x|x_t] gives it exactly.

    At every level, the top included, and in each ladder's y.
    """
    c = schedule.transition(torch.full((3,), t), torch.float64)
    got = _mean(OwnProposal((2,), limit=None), c)
    wanted, _ = _recovery(c, X_T)
    torch.testing.assert_close(got, c.y_scale[:, None] * wanted, rtol=1e-9, atol=1e-11)
    if schedule.num_levels != 10:  # as noisy as q's posterior
        torch.testing.assert_close(OwnProposal((2,)).spread(c), c.y_scale * c.posterior_var.sqrt())


@pytest.mark.parametrize("limit", [0.5, 1.1])
def test_the_denoised_image_is_clamped(limit: float) -> None:
    c = ContinuousSchedule().transition(torch.tensor([2, 5, 3]), torch.float64)
    x_t = torch.tensor([[3.0, -4.0], [0.1, 9.0], [0.4, 0.0]]).double()
    x = _denoised(c, x_t)
    assert (x.abs() > limit).any() and (x.abs() < limit).any()
    of_x = c.alpha_s * c.sigma_ts**2 / c.sigma_t**2
    of_x_t = c.alpha_ts * c.sigma_s**2 / c.sigma_t**2
    wanted = of_x[:, None] * x.clamp(-limit, limit) + of_x_t[:, None] * x_t
    torch.testing.assert_close(_mean(OwnProposal((2,), limit=limit), c, x_t), wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("t", [1, 500, 1000])
def test_gaussian_step(t: int) -> None:
    """y = x_t - σ_t²(x_t - √ᾱm)/v_t + σ_t z with v_t = ᾱv + σ̄²; no noise at t = 1 (spec §9)."""
    c = LinearSchedule().transition(torch.full((3,), t), torch.float64)
    step = GaussianStep((2,))
    alpha, total = c.alpha_t[:, None], c.alpha_t[:, None] ** 2 * VARIANCE + c.sigma_t[:, None] ** 2
    wanted = X_T - c.sigma_ts[:, None] ** 2 * (X_T - alpha * MEAN) / total
    mean = _mean(step, c)
    torch.testing.assert_close(mean, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(step.spread(c), torch.zeros(3).double() if t == 1 else c.sigma_ts)
    noise = Noise(0, torch.arange(3), dtype=torch.float64)
    moved = step.propose(mean, c, noise) - mean
    assert (moved == 0).all() if t == 1 else (moved != 0).all()
    # and near the conditional's own mean: its error is of the order σ_t⁴
    exact, variance = _recovery(c, X_T)
    assert ((mean - c.y_scale[:, None] * exact).abs() / variance.sqrt()).max() < 0.05


@pytest.mark.parametrize(
    ("schedule", "initializer"),
    [
        (ContinuousSchedule(6), OwnProposal((2,), limit=None)),
        (LinearSchedule(1000, num_used=12), OwnProposal((2,), limit=None)),
        (LinearSchedule(12, 0.01, 0.3), GaussianStep((2,))),
    ],
    ids=["own", "own, strided", "T1k"],
)
def test_without_a_chain_it_is_the_ancestral_sampler(schedule, initializer) -> None:
    """K = 0 of Gaussian data's exact energy: 20,000 samples' means and variances, within 4 standard errors.

    Every step is affine, so the samples' law is Gaussian, and its moments follow level by level from those of
    x_T ~ N(0, I): DDPM's with the posterior's variance, and T1k's of spec §9.
    """
    count = 20_000
    generation = Generation(Langevin(0), denoise_factor=0.0)
    draw = Draw.of_seed(0, count, dtype=torch.float64)
    x = sample(generation, Networks(ENERGY, initializer, schedule), draw, Runtime(), count).x.double()
    mean, variance = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    for t in range(schedule.num_levels, 0, -1):
        c = schedule.transition(torch.tensor([t]), torch.float64)
        total = c.alpha_t**2 * VARIANCE + c.sigma_t**2
        if isinstance(initializer, GaussianStep):
            gain = (1 - c.sigma_ts**2 / total) / c.alpha_ts
            added = (c.sigma_ts / c.alpha_ts) ** 2 * (t > 1)
        else:
            gain = c.alpha_ts * (c.alpha_s**2 * VARIANCE + c.sigma_s**2) / total
            added = c.posterior_var
        mean = c.alpha_s * MEAN + gain * (mean - c.alpha_t * MEAN)
        variance = gain**2 * variance + added
    assert ((x.mean(0) - mean) / (variance / count).sqrt()).abs().max() < 4
    assert (x.var(0) / variance - 1).abs().max() < 4 * math.sqrt(2 / count)
    assert (mean - MEAN).abs().max() < 0.1  # and that is near the data's


def test_an_initializer_network_is_asked_for_its_own_mean() -> None:
    torch.manual_seed(0)
    network = MLPInitializer((2,), width=8, depth=1).double()
    c = CosineSchedule().transition(torch.tensor([1, 4, 6]), torch.float64)
    assert torch.equal(_mean(network, c), network(X_T, c, NONE))


def test_a_guided_energy_proposes_guided() -> None:
    """Guidance w: ε̂ of (1 + w) E(label) - w E(none), at the level of x_t."""
    torch.manual_seed(0)
    energy = MLPEnergy((2,), 3, width=8, depth=1).double()
    c = ContinuousSchedule().transition(torch.tensor([1, 4, 6]), torch.float64)
    label, own = torch.tensor([2, 0, 1]), OwnProposal((2,), 3, limit=None)
    means = {}
    for w in (0.0, 2.0):
        means[w] = proposal_mean(ClassifierFreeGuidance(w), energy, own, X_T, c, label)
    plain = proposal_mean(NoGuidance(), energy, own, X_T, c, NONE)
    # the mean is affine in ε̂
    torch.testing.assert_close(means[2.0], 3 * means[0.0] - 2 * plain, rtol=1e-9, atol=1e-9)
    assert (means[2.0] - means[0.0]).abs().min() > 1e-4


def test_the_energy_is_looked_at_where_x_t_is() -> None:
    own, c = OwnProposal((2,)), ContinuousSchedule().transition(torch.tensor([3]), torch.float64)
    asked = own.energy_level(c)
    assert torch.equal(asked.logsnr_s, c.logsnr_t) and asked.y_scale == 1
    torch.testing.assert_close(asked.energy_scale, c.sigma_t)
    torch.testing.assert_close(level(c.logsnr_t).alpha_s, c.alpha_t)


def test_faults_are_named() -> None:
    c = ContinuousSchedule().transition(torch.tensor([1, 2, 3]), torch.float64)
    for make, words in (
        (lambda: OwnProposal((2,), limit=0.0), ["OwnProposal.limit", "above 0"]),
        (lambda: OwnProposal((2,)).mean(X_T, c), ["OwnProposal proposes from the energy", "proposal_mean"]),
        (lambda: GaussianStep((2,))(X_T, c), ["GaussianStep proposes from the energy"]),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_gaussian_step_of_any_energy_scale() -> None:
    """The energy of another oracle: one element, mean 0.4, variance 0.2."""
    energy = GaussianEnergy((1,), 0.4, 0.2)
    c = LinearSchedule(10, 0.01, 0.3).transition(torch.tensor([7]), torch.float64)
    x_t = torch.tensor([[1.3]]).double()
    got = proposal_mean(NoGuidance(), energy, GaussianStep((1,)), x_t, c, torch.tensor([-1]))
    total = c.alpha_t**2 * 0.2 + c.sigma_t**2
    torch.testing.assert_close(got[:, 0], x_t[:, 0] - c.sigma_ts**2 * (x_t[:, 0] - c.alpha_t * 0.4) / total)
