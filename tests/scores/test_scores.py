"""Scores on Gaussian data, where each has a closed form; larger is more outlying."""

from __future__ import annotations

import math

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.analytic import GaussianEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import OwnProposal
from modules.methods.networks import Networks
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.forward import posterior_mean
from modules.scores.base import same_noise
from modules.scores.denoising import DenoisingScore
from modules.scores.energy import EnergyScore, GradientNormScore, NoisyEnergyScore
from modules.scores.likelihood import LikelihoodScore, TypicalityScore
from tests.gaussian_oracle import ENERGY, MEAN, VARIANCE, ExactProposal, data

SCHEDULE = CosineSchedule()
X = data(Noise(2, torch.arange(6), stream="test", dtype=torch.float64)) * torch.tensor([[1.0, 3.0]]).double()
C = SCHEDULE.transition(torch.tensor([1]), torch.float64)


def _score(score, x=X, seed=0, initializer=None):
    return score(Networks(ENERGY, initializer or ExactProposal(), SCHEDULE), x, seed)


def _distance(x_s, t):
    """(x_s - mean)²/variance (b,) at level t - 1, and -2 log of the normalizer of y."""
    c = SCHEDULE.transition(torch.tensor([t]), torch.float64)
    variance = c.alpha_s**2 * VARIANCE + c.sigma_s**2
    constant = (2 * torch.pi * c.y_scale**2 * variance).log().sum()
    return ((x_s - c.alpha_s * MEAN) ** 2 / variance).sum(1), constant, c


def test_the_energy_of_the_clean_image():
    distance, constant, c = _distance(C.alpha_s * X, 1)
    torch.testing.assert_close(_score(EnergyScore()), 0.5 * c.energy_scale * (distance + constant))


def test_noises_have_the_samples_precision():
    """Those of float64 aren't numbers of float32: their bits go on."""
    noise = same_noise(0, 1, X)
    assert noise.dtype == torch.float64 and not torch.equal(noise, noise.float().double())
    assert torch.equal(noise[0], noise[-1]) and same_noise(0, 1, X.float()).dtype == torch.float32


def test_noisy_levels_are_divided_by_their_scale_and_weighted():
    """With many noises the mean over them is the distance of the mean, plus σ̄_s²·Σ1/variance."""
    expected = 0.0
    for level, weight in ((1, 2.0), (4, -0.5)):
        distance, constant, c = _distance(
            SCHEDULE.transition(torch.tensor([level + 1]), torch.float64).alpha_s * X, level + 1
        )
        spread = (c.sigma_s**2 / (c.alpha_s**2 * VARIANCE + c.sigma_s**2)).sum()
        expected = expected + weight * 0.5 * (distance + spread + constant)
    found = _score(NoisyEnergyScore((1, 4), (2.0, -0.5), num_noises=1500))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.2)
    # one noise: level 4's share flips with its weight
    one, two = (NoisyEnergyScore((4,), (w,), num_noises=2) for w in (1.0, -3.0))
    torch.testing.assert_close(_score(two), -3 * _score(one))


def test_at_a_cleanest_level_that_is_noisy():
    """λ_0 = 1, where √ᾱ_0 = 0.86 and σ̄_0 = 0.52: what the default ladder's 1 and 0 hide."""
    schedule = CosineSchedule(logsnr_max=1.0)
    c = schedule.transition(torch.tensor([1]), torch.float64)
    variance = c.alpha_s**2 * VARIANCE + c.sigma_s**2
    away = c.alpha_s * (X - MEAN)
    constant = (2 * torch.pi * c.y_scale**2 * variance).log().sum()
    energy = EnergyScore()(Networks(ENERGY, ExactProposal(), schedule), X) / c.energy_scale
    torch.testing.assert_close(energy, 0.5 * ((away**2 / variance).sum(1) + constant))
    slope = GradientNormScore()(Networks(ENERGY, ExactProposal(), schedule), X) / c.energy_scale
    torch.testing.assert_close(slope, (away / (variance * c.y_scale)).norm(dim=1))


class Reading(ExactProposal):
    """Proposes 0, and remembers what it read at which level."""

    def __init__(self) -> None:
        super().__init__()
        self.read: dict[int, list[torch.Tensor]] = {}

    def mean(self, x_t, transition, label=None):
        self.read.setdefault(int(transition.t[0]), []).append(x_t)
        return torch.zeros_like(x_t)


def test_the_denoising_error_is_of_noisy_images():
    """x_t = √ᾱ_t x + σ̄_t ε with an ε for each draw that all images, and all levels, share."""
    reading = Reading()
    x = torch.linspace(-1, 1, 6000, dtype=torch.float64).reshape(3, 2000)
    DenoisingScore((1, 4), num_noises=3)(Networks(ENERGY, reading, SCHEDULE), x)
    assert sorted(reading.read) == [2, 5]
    noises = []
    for t, images in reading.read.items():
        c = SCHEDULE.transition(torch.tensor([t]), torch.float64)
        eps = (torch.stack(images) - c.alpha_t * x) / c.sigma_t
        torch.testing.assert_close(eps, eps[:, :1].expand_as(eps), rtol=0, atol=1e-9)
        noises.append(eps[:, 0])
    torch.testing.assert_close(noises[0], noises[1], rtol=0, atol=1e-9)
    correlation = torch.corrcoef(noises[0])
    torch.testing.assert_close(correlation, torch.eye(3).double(), rtol=0, atol=0.1)
    assert (noises[0].var(1) - 1).abs().max() < 0.15


def test_the_gradient_norm():
    variance = C.alpha_s**2 * VARIANCE + C.sigma_s**2
    slope = C.energy_scale * C.alpha_s * (X - MEAN) / (variance * C.y_scale)
    torch.testing.assert_close(_score(GradientNormScore()), slope.norm(dim=1))


def test_the_denoising_error():
    """Of the exact posterior mean of Gaussian data: E||·||² is linear in x - mean, squared, plus noise."""

    class Off(ExactProposal):
        """Proposes its standard deviation beside q's own mean of X."""

        def mean(self, x_t, transition, label=None):
            aim = transition.y_scale[:, None] * posterior_mean(X, x_t, transition)
            return aim + self.spread(transition)[:, None] * torch.tensor([1.0, 2.0]).double()

    found = _score(DenoisingScore((0, 3, 5), num_noises=3), initializer=Off())
    torch.testing.assert_close(found, torch.full((6,), 3 * (1 + 4) / 2).double())


class Asked(NormalizedEnergy):
    """U is 1 the first time, 2 the second, ...; what it was asked is kept."""

    def __init__(self) -> None:
        super().__init__(ENERGY)
        self.asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def potential(self, x, logsnr, label=None):
        assert label is None and not torch.is_grad_enabled()
        self.asked.append((x, logsnr))
        return torch.full_like(logsnr, len(self.asked))


def test_the_likelihood_is_a_mean_over_noisy_images_of_its_level():
    """σ̄ = 0.6: √ᾱ = 0.8 and λ = log(0.64/0.36), with an ε for each draw that all images share."""
    x = torch.linspace(-1, 1, 6000, dtype=torch.float64).reshape(3, 2000)
    schedule = ContinuousSchedule(logsnr_max=1.0)
    noises = {}
    for seed in (0, 1):
        energy = Asked()
        found = LikelihoodScore(0.6, num_noises=3)(Networks(energy, OwnProposal((2,)), schedule), x, seed)
        torch.testing.assert_close(found, torch.full((3,), 2.0).double())
        images, levels = (torch.stack(part) for part in zip(*energy.asked, strict=True))
        torch.testing.assert_close(levels, torch.full((3, 3), math.log(0.64 / 0.36)).double())
        eps = (images - 0.8 * x) / 0.6
        torch.testing.assert_close(eps, eps[:, :1].expand_as(eps), rtol=0, atol=1e-9)
        noises[seed] = eps[:, 0]
    correlation = torch.corrcoef(torch.cat([noises[0], noises[1]]))
    torch.testing.assert_close(correlation, torch.eye(6).double(), rtol=0, atol=0.1)
    assert (noises[0].var(1) - 1).abs().max() < 0.15


def test_the_likelihood_may_be_of_the_ladders_cleanest_level():
    for sigma, logsnr in ((None, 1.0), (0.5, math.log(3))):
        energy = Asked()
        schedule = ContinuousSchedule(logsnr_max=1.0)
        LikelihoodScore(sigma)(Networks(energy, OwnProposal((2,)), schedule), X)
        torch.testing.assert_close(energy.asked[0][1], torch.full((6,), logsnr).double())


def test_what_is_not_set_is_as_documented():
    """σ̄ = 0.1 of eight noises; the levels 0, 1, 2 and 1, of eight noises each, weighing 1."""
    for score in (LikelihoodScore(), TypicalityScore(entropy=0.0)):
        energy = Asked()
        score(Networks(energy, OwnProposal((2,)), ContinuousSchedule()), X)
        assert len(energy.asked) == 8 and float(energy.asked[0][1][0]) == pytest.approx(math.log(99))
    reading = Reading()
    _score(DenoisingScore(), initializer=reading)
    assert {t: len(images) for t, images in reading.read.items()} == {1: 8, 2: 8, 3: 8}
    torch.testing.assert_close(
        _score(NoisyEnergyScore()), _score(NoisyEnergyScore((1,), (1.0,), num_noises=8)), rtol=0, atol=0
    )


def test_labelled_energies_are_asked_without_a_label():
    """Scores are of networks without labels: none is -1."""

    class Labels(ExactProposal):
        def mean(self, x_t, transition, label=None):
            assert label.tolist() == [-1] * len(x_t)
            return super().mean(x_t, transition)

    _score(DenoisingScore((0, 5), num_noises=1), initializer=Labels())


KINDS = [EnergyScore(), NoisyEnergyScore((1, 3)), GradientNormScore(), DenoisingScore()]


@pytest.mark.parametrize("score", KINDS, ids=lambda s: type(s).__name__)
def test_an_image_far_out_scores_higher_and_knows_no_neighbours(score):
    """Equal images have equal scores wherever they stand: the noises are the same for all."""
    x = torch.stack([MEAN, MEAN, MEAN + 6, MEAN])
    found = _score(score, x)
    assert found[2] > found[0] and found.shape == (4,)
    torch.testing.assert_close(found[[1, 3]], found[[0, 0]])
    torch.testing.assert_close(_score(score, x[2:3]), found[2:3])
    moved = _score(score, x, seed=1)
    assert torch.equal(moved, found) == isinstance(score, (EnergyScore, GradientNormScore))


def test_bad_arguments_and_what_a_run_lacks():
    with pytest.raises(ConfigurationError, match="weights must have one number for each of 2 levels"):
        NoisyEnergyScore((1, 2), (1.0,))
    with pytest.raises(ConfigurationError, match="levels must hold at least one level"):
        DenoisingScore(())
    with pytest.raises(ConfigurationError, match=r"must be levels 0\.\.5, got 6"):
        NoisyEnergyScore((6,)).check(Networks(ENERGY, ExactProposal(), SCHEDULE))
    with pytest.raises(ConfigurationError, match=r"must be levels 0\.\.5, got 7"):
        DenoisingScore((5, 7)).check(Networks(ENERGY, ExactProposal(), SCHEDULE))
    for score in (LikelihoodScore(), TypicalityScore(entropy=0.0)):
        with pytest.raises(ConfigurationError, match="needs an energy that knows its constant"):
            _score(score)
    with pytest.raises(ConfigurationError, match="needs a trained initializer"):
        DenoisingScore().check(Networks(ENERGY, CopyInitializer((2,)), SCHEDULE))
    DenoisingScore().check(Networks(ENERGY, MLPInitializer((2,), width=8), SCHEDULE))


def test_typicality_is_the_distance_from_what_is_usual() -> None:
    """|U - H|: H is the mean of U over the data it is fitted to, or given; what is too dense is far too."""
    torch.manual_seed(0)
    energy = NormalizedEnergy(GaussianEnergy((2,), 0.0, 0.5)).double()
    schedule, x = ContinuousSchedule(), torch.tensor([[0.0, 0.0], [0.5, 0.5], [3.0, 3.0]]).double()
    plain = LikelihoodScore(0.2)(Networks(energy, OwnProposal((2,)), schedule), x)
    score = TypicalityScore(0.2)
    with pytest.raises(ConfigurationError, match="fit it to data"):
        score(Networks(energy, OwnProposal((2,)), schedule), x)
    score.fit(Networks(energy, OwnProposal((2,)), schedule), x[1:2].repeat(5, 1))
    values = score(Networks(energy, OwnProposal((2,)), schedule), x)
    torch.testing.assert_close(values, (plain - plain[1]).abs())
    assert values[0] > 0.1 and plain[0] < plain[1]
    given = TypicalityScore(0.2, entropy=float(plain[2]))
    given.fit(Networks(energy, OwnProposal((2,)), schedule), x)
    assert given(Networks(energy, OwnProposal((2,)), schedule), x)[2] < 1e-9


@pytest.mark.parametrize("score", [*KINDS, LikelihoodScore(), TypicalityScore(entropy=1.0)])
def test_scores_have_the_dtype_of_their_images(score):
    """float32 networks in float32."""
    energy = NormalizedEnergy(GaussianEnergy((2,), 0.0, 0.5))
    networks = Networks(energy, OwnProposal((2,)), ContinuousSchedule())
    assert score(networks, X.float()).dtype == torch.float32


def test_wrong_levels_are_named_by_their_owner():
    for kind in (NoisyEnergyScore, DenoisingScore):
        name = kind.__name__
        for levels, words in (
            ((), f"^{name}.levels must hold at least one level"),
            (3, f"^{name}.levels must be"),
            ((1, -1), f"^{name}.levels' entries must be at least 0"),
        ):
            with pytest.raises(ConfigurationError, match=words):
                kind(levels)
        with pytest.raises(ConfigurationError, match=f"^{name}.num_noises must be at least 1"):
            kind(num_noises=0)
        assert kind([0, 5]).levels == (0, 5)
    for kind in (LikelihoodScore, TypicalityScore):
        with pytest.raises(ConfigurationError, match=f"^{kind.__name__}.sigma must be above 0"):
            kind(0.0)
        with pytest.raises(ConfigurationError, match=f"^{kind.__name__}.num_noises must be at least 1"):
            kind(num_noises=0)
