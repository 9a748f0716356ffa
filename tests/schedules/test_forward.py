"""The forward process: marginals, what the two pairs share and what they don't, and the posterior."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.noise import Noise
from modules.core.types import Transition
from modules.schedules.cosine import CosineSchedule
from modules.schedules.forward import independent_pair, marginal, posterior_mean, shared_noise_pair
from modules.schedules.linear import LinearSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule

torch.set_num_threads(1)

N = 200_000
X = 0.7
PAIRS = [shared_noise_pair, independent_pair]


def _draw(pair, t: int, schedule=None) -> tuple[Tensor, Tensor, Transition]:
    """N pairs (N,) from the one clean number X."""
    transition = (schedule or CosineSchedule()).transition(torch.full((N,), t), torch.float64)
    noise = Noise(0, torch.arange(N), dtype=torch.float64)
    x_s, x_t = pair(torch.full((N, 1), X, dtype=torch.float64), transition, noise)
    return x_s[:, 0], x_t[:, 0], transition.map(lambda v: v[0])


@pytest.mark.parametrize("t", [1, 4, 6])
@pytest.mark.parametrize("pair", PAIRS)
def test_both_pairs_have_the_marginals_of_the_ladder(pair, t: int) -> None:
    x_s, x_t, c = _draw(pair, t)
    for drawn, alpha, sigma in ((x_s, c.alpha_s, c.sigma_s), (x_t, c.alpha_t, c.sigma_t)):
        assert abs(drawn.mean() - alpha * X) < 4 * sigma / math.sqrt(N)
        assert abs(drawn.var() / sigma**2 - 1) < 4 * math.sqrt(2 / N)


@pytest.mark.parametrize("t", [2, 4, 6])
def test_the_pairs_differ_in_their_covariance(t: int) -> None:
    """Shared: σ̄_s σ̄_t (correlation 1). Independent: √α_t σ̄_s²."""
    x_s, x_t, c = _draw(shared_noise_pair, t)
    assert torch.corrcoef(torch.stack([x_s, x_t]))[0, 1].item() == pytest.approx(1, abs=1e-12)
    x_s, x_t, c = _draw(independent_pair, t)
    correlation = (c.alpha_ts * c.sigma_s / c.sigma_t).item()
    error = (1 - correlation**2) / math.sqrt(N)
    assert torch.corrcoef(torch.stack([x_s, x_t]))[0, 1].item() == pytest.approx(correlation, abs=4 * error)
    assert correlation < 0.95
    # a Markov step: what it adds doesn't know x_s
    added = x_t - c.alpha_ts * x_s
    assert abs(torch.corrcoef(torch.stack([x_s, added]))[0, 1]) < 4 / math.sqrt(N)


def test_each_sample_has_its_own_level() -> None:
    x = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    got = marginal(x, torch.tensor([0.5, 0.1]), torch.tensor([0.0, 1.0]), torch.ones(2, 1, 2))
    torch.testing.assert_close(got, torch.tensor([[[0.5, 1.0]], [[1.3, 1.4]]]))


@pytest.mark.parametrize("schedule", [CosineSchedule(), SubsampledLinearSchedule()])
@pytest.mark.parametrize("t", [1, 3, 6])
def test_posterior(schedule, t: int) -> None:
    """x_s less its posterior mean is uncorrelated with x_t (so Gaussian x_s has no better guess), and has the
    posterior variance β̃_t."""
    x_s, x_t, c = _draw(independent_pair, t, schedule)
    one = c.map(lambda v: v.expand(N))
    error = x_s - posterior_mean(torch.full((N, 1), X, dtype=torch.float64), x_t[:, None], one)[:, 0]
    assert abs(error.mean()) < 4 * c.posterior_var.sqrt() / math.sqrt(N)
    assert abs(torch.corrcoef(torch.stack([error, x_t]))[0, 1]) < 4 / math.sqrt(N)
    assert abs(error.var() / c.posterior_var - 1) < 4 * math.sqrt(2 / N)


def test_posterior_of_a_clean_level_is_the_clean_image() -> None:
    transition = LinearSchedule().transition(torch.ones(5, dtype=torch.int64), torch.float64)
    x, x_t = torch.randn(2, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(posterior_mean(x, x_t, transition), x, rtol=1e-12, atol=1e-12)
