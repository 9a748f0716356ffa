"""One energy's training step: losses at recorded noise, rows, refusals, what it learns (spec §13)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Batch
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.unet import UNetEnergy
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import GaussianStep, OwnProposal
from modules.losses.contrast import RecoveryContrast
from modules.losses.fokker_planck import FokkerPlanck
from modules.losses.levels import LadderLevels, LevelLaw, MixedLevels, UniformLevels
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.networks import Networks
from modules.methods.one_energy import OneEnergy
from modules.samplers.langevin import Langevin
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.levels import level
from modules.schedules.linear import LinearSchedule
from tests.methods.quadratic import LABEL, Quadratic, batch_of, known, method_of, noise_of, step_of

torch.set_num_threads(1)


def test_score_and_level_losses_at_recorded_noise() -> None:
    """Each sample's, written out from spec §13 for E = 0.4||x||² + 0.3 λ Σx, D = 2, c = 0."""
    out = step_of(method_of(), 0)
    x, eps, x_level, logsnr, alpha_bar, noise_var = known(noise_of())
    slope = 0.8 * x_level + 0.3 * logsnr[:, None]
    score = (slope - eps).square().sum(1)
    energy = 0.4 * x_level.square().sum(1) + 0.3 * logsnr * x_level.sum(1)
    sigma = noise_var.sqrt()
    # U = E/σ̄ + 2 log σ̄ and dσ̄/dλ = -½ᾱσ̄
    level_slope = 0.3 * x_level.sum(1) / sigma + energy * 0.5 * alpha_bar / sigma - alpha_bar
    target = 0.5 * (
        alpha_bar[:, None] * (eps**2 - 1) - (alpha_bar * noise_var).sqrt()[:, None] * eps * x
    ).sum(1)
    var = 2 * alpha_bar * (0.5 * alpha_bar + 0.25 * noise_var * 0.3) + 0.1
    levels = (level_slope - target) ** 2 / var
    torch.testing.assert_close(out.watch["score_loss"], score, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(out.watch["level_loss"], levels, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out.losses["energy"], (score + 0.4 * levels).mean(), rtol=1e-10, atol=0)
    assert set(out.losses) == {"energy"} and set(out.watch) == {"score_loss", "level_loss"}
    assert torch.equal(out.t, ContinuousSchedule().transition_of(logsnr))


def test_each_loss_alone_is_what_it_is_beside_the_others() -> None:
    both = step_of(method_of(), 0)
    for name, missing in (("score_loss", "level_score"), ("level_loss", "score")):
        alone = step_of(method_of(recovery=None, **{missing: None}), 0)
        assert set(alone.watch) == {name}
        assert torch.equal(alone.watch[name], both.watch[name])
        weight = 0.4 if name == "level_loss" else 1.0
        torch.testing.assert_close(alone.losses["energy"], weight * both.watch[name].mean())


def test_recovery_at_recorded_noise() -> None:
    """E⁺ - E⁻ with the pair, the proposal and both steps of the chain written out from spec §13.

    E = 0.4||x||² has ∇E = 0.8 x: x̂ = (x_t - 0.8σ̄_t x_t)/√ᾱ_t, clamped at 1.1.
    """
    energy = Quadratic()
    with torch.no_grad():
        energy.b.zero_()
    parts = {"score": None, "level_score": None, "recovery": RecoveryContrast(weight=3.0)}
    method = method_of(energy, **parts)
    out = step_of(method, 0)
    x, _, _, logsnr, _, _ = known(noise_of())
    assert torch.equal(out.t, ContinuousSchedule(6).transition_of(logsnr))
    ladder = ContinuousSchedule(6)
    c = ladder.transition(ladder.transition_of(logsnr), torch.float64)
    c = c.map(lambda v: v[:, None])
    pair = noise_of().child("recovery")
    x_s = c.alpha_s * x + c.sigma_s * pair.normal("eps", (2,))
    x_t = c.alpha_ts * x_s + c.sigma_ts * pair.normal("eps_step", (2,))
    denoised = ((x_t - 0.8 * c.sigma_t * x_t) / c.alpha_t).clamp(-1.1, 1.1)
    y = c.alpha_s * c.sigma_ts**2 / c.sigma_t**2 * denoised + c.alpha_ts * c.sigma_s**2 / c.sigma_t**2 * x_t
    y = y + c.posterior_var.sqrt() * noise_of().normal("proposal", (2,))
    size = 0.5 / (1 / c.sigma_s**2 + c.alpha_ts**2 / c.sigma_ts**2).sqrt()
    for k in range(2):
        grad = 0.8 * y / c.sigma_s + c.alpha_ts * (c.alpha_ts * y - x_t) / c.sigma_ts**2
        y = y - size**2 / 2 * grad + size * noise_of().normal("langevin", (2,), draw=k)
    positive, negative = 0.4 * x_s.square().sum(1), 0.4 * y.square().sum(1)
    torch.testing.assert_close(out.watch["energy_positive"], positive, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(out.watch["energy_negative"], negative, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(out.losses["energy"], 3 * (positive - negative).mean(), rtol=1e-9, atol=1e-12)
    # the chain passes no gradient: descent on a is the difference of the halves of squares
    (grad,) = torch.autograd.grad(out.losses["energy"], energy.a)
    torch.testing.assert_close(grad, 3 * (positive - negative).mean() / 0.8, rtol=1e-9, atol=1e-12)
    assert "score_loss" not in out.watch


def test_what_is_shown_are_the_ends_of_the_chains_and_their_data() -> None:
    """Without a step they end where they begin, at the proposal with its noise; x_t is x_s and a noise."""
    energy = Quadratic()
    parts = (OwnProposal((2,)), ContinuousSchedule(), Langevin(0))
    out = step_of(OneEnergy(energy, *parts, recovery=RecoveryContrast(), levels=UniformLevels()), 0)
    assert list(out.shown) == ["noisier", "proposals", "revised", "data"]
    assert torch.equal(out.shown["proposals"], out.shown["revised"])
    moved = step_of(method_of(energy, score=None, level_score=None, recovery=RecoveryContrast()), 0).shown
    assert not torch.equal(moved["proposals"], moved["revised"])
    for name in ("noisier", "proposals", "data"):
        assert torch.equal(moved[name], out.shown[name]), name
    c = ContinuousSchedule().transition(out.t, torch.float64).map(lambda v: v[:, None])
    x_s = c.alpha_s * batch_of().image + c.sigma_s * noise_of().child("recovery").normal("eps", (2,))
    torch.testing.assert_close(out.shown["data"], x_s)
    eps = (out.shown["noisier"] - c.alpha_ts * x_s) / c.sigma_ts
    torch.testing.assert_close(eps, noise_of().child("recovery").normal("eps_step", (2,)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: UNetEnergy((1, 4, 4), 3, dim=8, dim_mults=(1,), num_blocks=1, groups=4),
        lambda: MLPEnergy((2,), 3, width=8, depth=1, level_waves=30.0),
    ],
    ids=["U-Net", "MLP"],
)
def test_rows_keep_their_numbers(make) -> None:
    """Micro-batches: a part of the batch has the parts' figures."""
    torch.manual_seed(0)
    method = method_of(NormalizedEnergy(make()).double())
    batch, rows = batch_of(method.energy.shape), torch.tensor([4, 1])
    method.begin_step(1)
    whole = method(batch, noise_of(step=1))
    part = method(Batch(batch.image[rows], LABEL[rows]), noise_of(rows, step=1))
    assert torch.equal(part.t, whole.t[rows])
    assert set(part.watch) == set(whole.watch) and len(whole.watch) == 6
    for name, values in part.watch.items():
        torch.testing.assert_close(values, whole.watch[name][rows], rtol=1e-8, atol=1e-9)


def test_t1k_learns_scores_at_its_own_levels() -> None:
    """A LinearSchedule, a GaussianStep and no chain (spec §9)."""
    schedule = LinearSchedule(20, 0.01, 0.3)
    method = OneEnergy(
        Quadratic(), GaussianStep((2,)), schedule, Langevin(0), score=ScoreMatching(), levels=LadderLevels()
    )
    out = step_of(method, 0)
    t = (20 * noise_of().uniform("level")).ceil().long()
    assert torch.equal(out.t, t)
    c = schedule.transition(t, torch.float64)
    eps = noise_of().normal("eps", (2,))
    x_t = c.alpha_t[:, None] * batch_of().image + c.sigma_t[:, None] * eps
    slope = 0.8 * x_t + 0.3 * c.logsnr_t[:, None]
    torch.testing.assert_close(out.losses["energy"], (slope - eps).square().sum(1).mean(), rtol=1e-9, atol=0)


def test_one_network_learns() -> None:
    method = method_of()
    assert set(method.networks()) == {"energy"}
    assert method.models() == Networks(method.energy, method.initializer, method.schedule)


def test_only_the_energys_vectors_iterate_once_a_step() -> None:
    torch.manual_seed(0)
    energy = MLPEnergy((2,), width=8, depth=1, spectral_norm=True).double()
    method = method_of(energy, level_score=None)
    buffers = [b.clone() for b in energy.buffers()]
    method.begin_step(1)
    after = [b.clone() for b in energy.buffers()]
    assert buffers and not any(map(torch.equal, buffers, after))
    method(batch_of(), noise_of(step=1)).losses["energy"].backward()
    assert all(map(torch.equal, energy.buffers(), after))


REFUSED = {
    "a level score without c": (
        lambda: method_of(Quadratic()),
        "OneEnergy.level_score needs c(λ): set OneEnergy.energy = @NormalizedEnergy() around yours",
    ),
    "an initializer network": (
        lambda: OneEnergy(
            Quadratic(), MLPInitializer((2,)), ContinuousSchedule(), Langevin(1), ScoreMatching()
        ),
        "OneEnergy trains no initializer network: set OneEnergy.initializer = @OwnProposal()",
    ),
    "chains on T1k's ladder": (
        lambda: OneEnergy(
            Quadratic(), OwnProposal((2,)), LinearSchedule(), Langevin(1), recovery=RecoveryContrast()
        ),
        "OneEnergy.recovery needs chains: set OneEnergy.schedule = @ContinuousSchedule()",
    ),
    "a fixed ladder": (
        lambda: OneEnergy(Quadratic(), OwnProposal((2,)), CosineSchedule(), Langevin(1), ScoreMatching()),
        "OneEnergy.schedule must know all levels, and CosineSchedule has a fixed ladder: set ",
    ),
    "no loss": (
        lambda: OneEnergy(Quadratic(), OwnProposal((2,)), ContinuousSchedule(), Langevin(1)),
        "OneEnergy has no loss: set OneEnergy.score, level_score or recovery",
    ),
    "another law": (lambda: method_of(levels=3), "OneEnergy.levels must be"),
    "a loss of another kind": (lambda: method_of(score=RecoveryContrast()), "OneEnergy.score must be"),
    "dropout": (lambda: method_of(label_dropout=1.5), "OneEnergy.label_dropout must be"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_refusals_are_one_line(fault: str) -> None:
    make, words = REFUSED[fault]
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


class One(LevelLaw):
    """Every sample at λ = 1."""

    def draw(self, schedule, noise) -> Tensor:
        return torch.ones_like(noise.uniform("level"))


def test_short_training_learns_a_gaussian() -> None:
    """100 steps of a quadratic at one level, the score loss alone: a and b of the true score, within 4%.

    Data N(m, v) with m = (0.4, 0.4), v = 0.3: ∇E = σ̄(x_λ - √ᾱm)/(ᾱv + σ̄²), so a = σ̄/s and b = -√ᾱ·0.4·a.
    """
    energy = Quadratic()
    method = method_of(energy, level_score=None, recovery=None, levels=One())
    optimizer = torch.optim.Adam(energy.parameters(), lr=0.05)
    for step in range(100):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 100)
        noise = Noise(0, torch.arange(1000), step, dtype=torch.float64)
        x = 0.4 + math.sqrt(0.3) * noise.normal("x", (2,))
        method.begin_step(step)
        optimizer.zero_grad()
        method(Batch(x, torch.full((1000,), -1)), noise).losses["energy"].backward()
        optimizer.step()
    c = level(torch.ones(1).double())
    alpha, sigma = float(c.alpha_s), float(c.sigma_s)
    wanted = sigma / (alpha**2 * 0.3 + sigma**2)
    assert energy.a.item() == pytest.approx(wanted, rel=0.04)
    assert energy.b.item() == pytest.approx(-0.4 * alpha * wanted, rel=0.08)


def test_a_copy_may_propose() -> None:
    """Chains may start from x_t itself."""
    energy = Quadratic()
    method = OneEnergy(
        energy,
        CopyInitializer((2,)),
        ContinuousSchedule(),
        Langevin(2, step_factor=0.5),
        recovery=RecoveryContrast(),
    )
    out = step_of(method, 0)
    assert torch.isfinite(out.losses["energy"]) and (out.watch["displacement"] > 0).all()


def test_what_it_was_made_with_is_kept() -> None:
    energy = NormalizedEnergy(Quadratic())
    given = {
        "energy": energy,
        "initializer": OwnProposal((2,)),
        "schedule": ContinuousSchedule(),
        "sampler": Langevin(2),
        "score": ScoreMatching(),
        "level_score": LevelScore(),
        "recovery": RecoveryContrast(),
        "levels": UniformLevels(),
        "label_dropout": 0.3,
        "fokker_planck": FokkerPlanck(),
        "compile": False,
    }
    assert arguments_of(OneEnergy(**given), "") == given
    plain = OneEnergy(*list(given.values())[:4], score=ScoreMatching())
    assert plain.label_dropout == 0.1 and isinstance(plain.levels, MixedLevels) and plain.levels.share == 0.5
