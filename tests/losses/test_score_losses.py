"""Score, level score and contrast: what they aim at is known for Gaussian data (spec §9, §13)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.losses.contrast import RecoveryContrast
from modules.losses.cooperative import WarmStart
from modules.losses.levels import LadderLevels, MixedLevels, UniformLevels
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.losses.score import LevelScore, ScoreMatching
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.levels import level
from modules.schedules.linear import LinearSchedule
from tests.gaussian_oracle import ENERGY, MEAN, VARIANCE, data

torch.set_num_threads(1)


@pytest.mark.parametrize("logsnr", [6.0, 0.8, -1.3, -4.0])
def test_the_target_has_the_mean_of_the_true_level_slope(logsnr: float) -> None:
    """E[τ | x_λ] = ∂/∂λ of the true -log p_λ(x_λ), in float64 to 1e-9; unequal means and variances.

    Given x_λ, each x_i is Gaussian and ε = (x_λ - √ᾱ x)/σ̄; τ is a sum of quadratics in them, so that three
    nodes of Gauss and Hermite integrate it exactly.
    """
    x_level = torch.tensor([[1.4, -0.9], [-0.2, 0.1], [0.6, 2.0]], dtype=torch.float64)
    levels = torch.full((3,), logsnr, dtype=torch.float64, requires_grad=True)
    density = -ENERGY(x_level, level(levels)) / torch.sigmoid(-levels).sqrt()
    (wanted,) = torch.autograd.grad(-density.sum(), levels)

    alpha, sigma = math.sqrt(1 / (1 + math.exp(-logsnr))), math.sqrt(1 / (1 + math.exp(logsnr)))
    total = alpha**2 * VARIANCE + sigma**2
    mean = MEAN + alpha * VARIANCE / total * (x_level - alpha * MEAN)
    deviation = (VARIANCE * sigma**2 / total).sqrt()
    found = torch.zeros(3, dtype=torch.float64)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        x = mean + node * deviation
        found += weight * LevelScore().target(x, (x_level - alpha * x) / sigma, levels.detach())
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert wanted.abs().min() > 1e-3


@pytest.mark.parametrize("logsnr", [5.0, 0.0, -3.0])
def test_a_level_slope_of_zero_has_the_loss_one(logsnr: float) -> None:
    """The divisor is τ's variance: of data with the second moment v the mean loss is 1, within 3%."""
    count = 100_000
    noise = Noise(0, torch.arange(count), dtype=torch.float64)
    x, eps = data(noise), noise.normal("eps", (2,))
    second = float((MEAN**2 + VARIANCE).mean())
    levels = torch.full((count,), logsnr, dtype=torch.float64)
    loss = LevelScore(data_var=second, floor=1e-9)(torch.zeros(count), x, eps, levels)
    assert loss.mean().item() == pytest.approx(1, abs=0.03)


def test_level_loss_by_hand() -> None:
    """λ = 0: ᾱ = σ̄² = ½, τ = ½ Σ [½(ε² - 1) - ½ε x]; the variance of τ is 2(⅛ + 1/16 v)."""
    x, eps = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[2.0, 3.0]]).double()
    target = 0.5 * ((0.5 * 3 - 0.5 * 2) + (0.5 * 8 + 0.5 * 6))
    loss, zero = LevelScore(data_var=3.0, floor=0.5), torch.zeros(1).double()
    assert loss.target(x, eps, zero).item() == pytest.approx(target)
    slope = torch.tensor([1.0]).double()
    square = (1 - target) ** 2
    assert LevelScore(scaling="none")(slope, x, eps, zero).item() == pytest.approx(square)
    assert loss(slope, x, eps, zero).item() == pytest.approx(square / (2 * (0.125 + 0.0625 * 3) + 0.5))


@pytest.mark.parametrize("t", [1, 3, 6])
def test_score_matching_is_least_at_the_true_score(t: int) -> None:
    """∇E of the exact energy leaves Σ ᾱv/(ᾱv + σ̄²) (spec §9's check); any other scale of it, more by
    (factor - 1)² Σ σ̄²/(ᾱv + σ̄²)."""
    count = 40_000
    c = ContinuousSchedule().transition(torch.full((count,), t), torch.float64)
    noise = Noise(0, torch.arange(count), dtype=torch.float64)
    x, eps = data(noise), noise.normal("eps", (2,))
    x_t = (c.alpha_t[:, None] * x + c.sigma_t[:, None] * eps).requires_grad_()
    (slope,) = torch.autograd.grad(ENERGY(x_t, level(c.logsnr_t)).sum(), x_t)
    alpha_bar, noise_var = float(c.alpha_t[0]) ** 2, float(c.sigma_t[0]) ** 2
    total = alpha_bar * VARIANCE + noise_var
    least, known = float((alpha_bar * VARIANCE / total).sum()), float((noise_var / total).sum())
    for factor in (1.0, 0.7, 1.3):
        losses = ScoreMatching()(factor * slope, eps, c)
        error = float(losses.std()) / math.sqrt(count)
        wanted = least + (factor - 1) ** 2 * known
        assert losses.mean().item() == pytest.approx(wanted, abs=4 * error)
    weight = (c.sigma_ts[0] ** 2 / (2 * c.sigma_t[0] ** 2)).item()
    exact = ScoreMatching(exact=True)(slope, eps, c)
    torch.testing.assert_close(exact, weight * ScoreMatching()(slope, eps, c))


@pytest.mark.parametrize("t", [1, 300, 1000])
def test_t1k_regression_on_gaussian_data(t: int) -> None:
    """f* = -σ̄_t||x||²/2v_t, v_t = ᾱ_t v + σ̄_t²: E||∇f + ε||² = D ᾱ_t v/v_t (spec §9), v = 0.6, D = 4."""
    count, v, dim = 40_000, 0.6, 4
    c = LinearSchedule().transition(torch.full((count,), t), torch.float64)
    noise = Noise(0, torch.arange(count), dtype=torch.float64)
    x, eps = math.sqrt(v) * noise.normal("x", (dim,)), noise.normal("eps", (dim,))
    x_t = c.alpha_t[:, None] * x + c.sigma_t[:, None] * eps
    total = c.alpha_t**2 * v + c.sigma_t**2
    losses = ScoreMatching()((c.sigma_t / total)[:, None] * x_t, eps, c)
    wanted = dim * float((c.alpha_t**2 * v / total)[0])
    error = float(losses.std()) / math.sqrt(count)
    assert losses.mean().item() == pytest.approx(wanted, abs=4 * error)


def test_contrast_and_its_limit() -> None:
    positive = torch.tensor([1.0, -4.0, 9.0], requires_grad=True)
    negative = torch.tensor([3.0, 2.0, 1.0], requires_grad=True)
    assert RecoveryContrast()(positive, negative).tolist() == [-2.0, -6.0, 8.0]
    limited = RecoveryContrast(limit=5.0)(positive, negative)
    assert limited.tolist() == [-2.0, -5.0, 5.0]
    limited.sum().backward()
    # descent lowers data and raises chains' ends; what is beyond the limit teaches no more
    assert positive.grad.tolist() == [1, 0, 0] and negative.grad.tolist() == [-1, 0, 0]


@pytest.mark.parametrize("loss", [ScoreMatching, LevelScore, RecoveryContrast])
def test_phases(loss) -> None:
    """A weight from first_step until before last_step."""
    phase = loss(weight=0.3, first_step=2, last_step=5).phase
    assert [phase.at(step) for step in range(7)] == [0, 0, 0.3, 0.3, 0.3, 0, 0]
    assert loss(weight=2.0).phase.at(0) == loss(weight=2.0).phase.at(10**9) == 2.0


def _levels(law, schedule, count: int = 20_000) -> Tensor:
    return law.draw(schedule, Noise(0, torch.arange(count), dtype=torch.float64))


def test_uniform_levels() -> None:
    schedule = ContinuousSchedule(4, logsnr_max=6.0, logsnr_min=-3.0)
    drawn = _levels(UniformLevels(), schedule)
    counts = torch.histc(drawn, 9, -3.0, 6.0)
    assert counts.sum() == 20_000 and (counts / 20_000 * 9 - 1).abs().max() < 0.08


def test_ladder_levels_lie_where_the_ladder_has_them() -> None:
    """As many between each two neighbours of a ladder, of any T."""
    schedule = ContinuousSchedule(8, logsnr_max=6.0, logsnr_min=-3.0)
    t = schedule.transition_of(_levels(LadderLevels(), schedule))
    share = t.bincount(minlength=9)[1:] / 20_000
    assert (share * 8 - 1).abs().max() < 0.08


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_mixed_levels(share: float) -> None:
    """Each row's λ is the ladder's or the uniform one of its own noise, in the share."""
    schedule = ContinuousSchedule()
    mixed, ladder, uniform = (
        _levels(law, schedule) for law in (MixedLevels(share), LadderLevels(), UniformLevels())
    )
    of_ladder = mixed == ladder
    assert torch.equal(mixed[~of_ladder], uniform[~of_ladder])
    assert of_ladder.double().mean().item() == pytest.approx(share, abs=0.015)


def test_levels_of_a_thousand_steps_are_its_own() -> None:
    schedule = LinearSchedule(10, beta_min=0.01, beta_max=0.3)
    table = schedule.transition(torch.arange(1, 11), torch.float64).logsnr_t
    drawn = _levels(LadderLevels(), schedule)
    assert torch.isin(drawn, table).all()
    t = schedule.transition_of(drawn)
    assert torch.equal(table[t - 1], drawn)
    assert (t.bincount(minlength=11)[1:] / 2_000 - 1).abs().max() < 0.1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ScoreMatching(weight=-1.0), ["ScoreMatching.weight", "at least 0"]),
        (lambda: ScoreMatching(first_step=-1), ["ScoreMatching.first_step", "at least 0"]),
        (lambda: ScoreMatching(exact=1), ["ScoreMatching.exact", "True or False"]),
        (lambda: LevelScore(first_step=5, last_step=5), ["LevelScore.last_step 5", "first_step 5"]),
        (lambda: LevelScore(scaling="var"), ["LevelScore.scaling", "variance", "var"]),
        (lambda: LevelScore(floor=0), ["LevelScore.floor", "above 0"]),
        (lambda: LevelScore(data_var=0), ["LevelScore.data_var", "above 0"]),
        (lambda: RecoveryContrast(limit=0), ["RecoveryContrast.limit", "above 0"]),
        (lambda: MixedLevels(1.5), ["MixedLevels.share", "at most 1"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_what_is_not_set_is_the_published_default() -> None:
    """Weights of 1; of four elements at λ = 0 without a slope to aim at, var = 4·½(½·½ + ¼·½·½) + 0.1."""
    assert ScoreMatching().phase.at(0) == LevelScore().phase.at(0) == 1
    loss = LevelScore()(torch.ones(1), torch.zeros(1, 4), torch.ones(1, 4), torch.zeros(1))
    torch.testing.assert_close(loss, torch.tensor([1 / 0.725]))


KEPT = {
    ScoreMatching: {"weight": 0.3, "first_step": 2, "last_step": 5, "exact": True},
    LevelScore: {
        "weight": 0.3,
        "first_step": 2,
        "last_step": 5,
        "scaling": "none",
        "data_var": 0.7,
        "floor": 0.2,
    },
    RecoveryContrast: {"weight": 0.3, "first_step": 2, "last_step": 5, "limit": 4.0},
    MixedLevels: {"share": 0.3},
    WarmStart: {"num_steps": 9, "energy_start": 4, "offset": 0.2},
    RecoveryLikelihoodLoss: {"weighted": False, "magnitude_penalty": 0.1},
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_a_loss_was_made_with_is_kept(kind) -> None:
    assert arguments_of(kind(**KEPT[kind]), "") == KEPT[kind]


def test_the_defaults_of_recoverys_phase_and_of_the_law_of_levels() -> None:
    """Ten times the contrast from the first step on; half of the levels the ladder's."""
    phase = RecoveryContrast().phase
    assert [phase.at(step) for step in (0, 1, 10**9)] == [10, 10, 10]
    assert MixedLevels().share == 0.5
    assert RecoveryContrast().limit is None
    for kind in (ScoreMatching, LevelScore, RecoveryContrast):
        with pytest.raises(ConfigurationError, match=rf"^{kind.__name__}.weight must"):
            kind(weight=-1.0)
