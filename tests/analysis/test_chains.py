"""Long-run chains on Gaussian data: known law, energy and displacement; runaways are called unstable."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from modules.analysis.chains import along_ladder, at_level, join, starts
from modules.analysis.verdict import judge_chains
from modules.core.noise import Noise
from modules.core.tensors import sum_per_sample
from modules.energies.base import Energy
from modules.methods.networks import Networks
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from tests.gaussian_oracle import ENERGY, MEAN, VARIANCE, ExactProposal, data

SCHEDULE = CosineSchedule()
GENERATION = Generation(Langevin(1))


def _setting(num: int, t: int):
    rows = torch.arange(num)
    noise = Noise(1, rows, stream="test", dtype=torch.float64)
    c = SCHEDULE.transition(torch.full((num,), t), torch.float64)
    return rows, noise, c, torch.full((num,), -1)


def _factor(c, variance: float, share: float) -> float:
    """The step-size factor m with m² s² = share · variance."""
    return (share * variance) ** 0.5 / float(c.step_size[0])


def _law(c):
    """Mean and variance (2,) of y at the level."""
    scale, alpha, sigma = (float(v[0]) for v in (c.y_scale, c.alpha_s, c.sigma_s))
    return scale * alpha * MEAN, scale**2 * (alpha**2 * VARIANCE + sigma**2)


def _marginal(energy, share: float, num=64, num_records=200, t=3):
    _, noise, c, label = _setting(num, t)
    sampler = Langevin(10, step_factor=_factor(c, float(_law(c)[1].min()), share))
    x_s, _ = starts(data(noise), c, noise)
    return at_level(GENERATION, energy, sampler, c, x_s, None, label, noise, num_records), c


def test_a_chain_started_in_its_law_is_stable():
    chains, c = _marginal(ENERGY, 0.5)
    verdict = judge_chains(chains.energy, chains.displacement, 2000, (1.0, 1.0))
    assert verdict.stable, verdict.reasons
    # spec §3: the variance is v/(1 - m²s²/4v) in each direction, and U is the normalized -log p
    _, v = _law(c)
    stationary = v / (1 - 0.5 * v.min() / v / 4)
    expected = 0.5 * (2 * torch.pi * v).log().sum() + 0.5 * (stationary / v).sum()
    assert float(chains.energy[100:].mean()) == pytest.approx(float(expected), abs=0.05)
    assert chains.displacement[0].abs().max() == 0
    far = chains.displacement[100:].square().mean() * 2  # E|y - y⁰|²
    assert float(far) == pytest.approx(float((v + stationary).sum()), rel=0.15)


def test_what_keeps_a_conditional_s_width_does_not_cool_a_marginal():
    """The law is as with noise of full strength: v/(1 - m²s²/4v), not (1 - m²/4) times that."""
    _, noise, c, label = _setting(64, 3)
    _, v = _law(c)
    c = dataclasses.replace(c, step_size=torch.full_like(c.step_size, float((v.min() / 2) ** 0.5)))
    x_s, _ = starts(data(noise), c, noise)
    sampler = Langevin(10, step_factor=1.0, corrected=True)
    chains = at_level(GENERATION, ENERGY, sampler, c, x_s, None, label, noise, 200)
    stationary = v / (1 - 0.5 * v.min() / v / 4)
    expected = 0.5 * (2 * torch.pi * v).log().sum() + 0.5 * (stationary / v).sum()
    assert float(chains.energy[100:].mean()) == pytest.approx(float(expected), abs=0.05)


def test_a_step_size_beyond_stability_is_unstable():
    """|1 - m²s²λ/2| > 1 from m²s²λ = 4 on."""
    assert not judge_chains(*_figures(4.4)).stable
    verdict = judge_chains(*_figures(40.0))
    assert verdict.reasons == ["the energy is not finite", "the displacement is not finite"]


def _figures(share: float):
    chains, _ = _marginal(ENERGY, share, num=16)
    return chains.energy, chains.displacement, 2000


class Ramp(Energy):
    """E = -0.3 energy_scale Σy: the chain drifts off at a constant speed."""

    def forward(self, y, transition, label=None):
        return -0.3 * transition.energy_scale * sum_per_sample(y)


def test_an_energy_that_runs_away_is_unstable():
    chains, _ = _marginal(Ramp((2,)), 0.5)
    verdict = judge_chains(chains.energy, chains.displacement, 2000)
    assert not verdict.stable and verdict.figures["energy_drift"] < 0 < verdict.figures["displacement_slope"]


def test_a_conditional_keeps_the_posterior_of_its_tie():
    """From y ~ N(0, I), 2,000 chains given one x_t reach p(y | x_t), which is known."""
    _, noise, c, label = _setting(2000, 2)
    x_s, x_t = starts(data(noise), c, noise, from_noise=True)
    assert abs(float(x_s.var(0).mean()) - 1) < 0.1
    one = x_t[:1].expand_as(x_t)
    prior_mean, prior_var = _law(c)
    precision = 1 / prior_var + 1 / float(c.sigma_ts[0]) ** 2
    mean = (prior_mean / prior_var + one[0] / float(c.sigma_ts[0]) ** 2) / precision
    sampler = Langevin(20, step_factor=_factor(c, float(1 / precision.max()), 0.1))
    chains = at_level(GENERATION, ENERGY, sampler, c, x_s, one, label, noise, 40)
    y = chains.frames[-1] * c.y_scale[:, None]
    torch.testing.assert_close(y.mean(0), mean, rtol=0, atol=4 * float(precision.rsqrt().max()) / 2000**0.5)
    torch.testing.assert_close(y.var(0) * precision, torch.ones(2).double(), rtol=0.15, atol=0)


def test_the_ladder_is_generation_with_long_chains():
    """The oracle's own proposals are the law at each level, and chains keep it down to level 0."""
    _, noise, _, label = _setting(3000, 6)
    x_top = noise.normal("x_T", (2,))
    each = []
    levels = along_ladder(
        GENERATION,
        Networks(ENERGY, ExactProposal(), SCHEDULE),
        Langevin(2),
        x_top,
        label,
        noise,
        20,
        each=lambda: each.append(1),
    )
    assert [chains.t for chains in levels] == [6, 5, 4, 3, 2, 1] and len(each) == 6 * 20
    x = levels[-1].end  # denoised
    torch.testing.assert_close(x.mean(0), MEAN, rtol=0, atol=0.05)
    torch.testing.assert_close(x.var(0), VARIANCE, rtol=0.12, atol=0)


def test_a_chain_knows_neither_its_batch_nor_its_neighbours():
    whole, _ = _marginal(ENERGY, 0.5, num=5, num_records=6)
    rows, _, c, label = _setting(5, 3)
    sampler = Langevin(10, step_factor=_factor(c, float(_law(c)[1].min()), 0.5))
    parts = []
    for index in rows.split(2):
        own = Noise(1, index, stream="test", dtype=torch.float64)
        x_s, _ = starts(data(own), c.map(lambda v, i=index: v[i]), own)
        transition = c.map(lambda v, i=index: v[i])
        parts.append(at_level(GENERATION, ENERGY, sampler, transition, x_s, None, label[index], own, 6))
    joined = join(parts)
    assert joined.frame_records == whole.frame_records == [0, 1, 2, 3, 4, 5, 6]
    for name in ("energy", "displacement", "frames", "start", "end"):
        torch.testing.assert_close(getattr(joined, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    turned = whole.rows(torch.tensor([3, 1]))
    assert torch.equal(turned.energy[:, 0], whole.energy[:, 3]) and turned.frames.shape[1] == 2


def test_the_denoised_ends_are_tweedie_s():
    """E[x | x_s] of a Gaussian."""
    chains, c = _marginal(ENERGY, 0.5, num=8, num_records=1)
    alpha, sigma = float(c.alpha_s[0]), float(c.sigma_s[0])
    gain = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
    for frame, denoised in ((0, chains.start), (-1, chains.end)):
        expected = MEAN + gain * (chains.frames[frame] - alpha * MEAN)
        torch.testing.assert_close(denoised, expected, rtol=1e-9, atol=1e-9)


def test_an_exact_chain_keeps_the_warm_ups_step_and_has_the_law():
    """Energies of N(m, v): mean ½ log(2πv) + ½ in each direction, at a step where Langevin has ⅓ more."""
    _, noise, c, label = _setting(64, 3)
    _, v = _law(c)
    sampler = AdjustedLangevin(10, step_factor=_factor(c, float(v.min()), 0.01), num_warmup=200)
    x_s, _ = starts(data(noise), c, noise)
    chains = at_level(GENERATION, ENERGY, sampler, c, x_s, None, label, noise, 200)
    expected = 0.5 * float((2 * torch.pi * v).log().sum()) + 0.5 * len(v)
    assert float(chains.energy[50:].mean()) == pytest.approx(expected, abs=0.05)
    assert chains.acceptance is not None and chains.acceptance.shape == (64,)
    assert float(chains.acceptance.mean()) == pytest.approx(0.574, abs=0.05)
    order = torch.tensor([5, 1])
    assert torch.equal(join([chains, chains]).rows(order).acceptance, chains.acceptance[order])
