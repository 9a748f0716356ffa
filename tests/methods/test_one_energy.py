"""One energy's training step: losses at recorded noise, phases, labels, refusals, its constant (spec §13)."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Batch, LossOutput, Transition
from modules.data.base import MemoryExamples
from modules.energies.base import Energy
from modules.energies.image import NetworkEnergy
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
from modules.methods import one_energy
from modules.methods.networks import Networks
from modules.methods.one_energy import OneEnergy
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.levels import level
from modules.schedules.linear import LinearSchedule
from modules.training.ema import EMA
from modules.training.optimizers import AdamW
from modules.training.state import Training

torch.set_num_threads(1)

COUNT = 6
LABEL = torch.tensor([0, 1, 2, 0, 1, 2])


def _noise(rows: Tensor | None = None, step: int = 0) -> Noise:
    return Noise(3, torch.arange(COUNT) if rows is None else rows, step, "train", torch.float64)


def _batch(shape: tuple[int, ...] = (2,), label: Tensor = LABEL) -> Batch:
    x = torch.rand(COUNT, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(2 * x - 1, label)


class Quadratic(Energy):
    """E = a||x||²/2 + b<1, x>·λ, with label k's b times (k + 2): all slopes known."""

    def __init__(self, num_classes: int = 0) -> None:
        super().__init__((2,), num_classes)
        self.a = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        factor = 1 if label is None else (label + 2)
        return self.a * y.square().sum(1) / 2 + self.b * factor * y.sum(1) * transition.logsnr_s


def _method(energy: Energy | None = None, **parts) -> OneEnergy:
    energy = energy or NormalizedEnergy(Quadratic()).double()
    settings = {
        "score": ScoreMatching(),
        "level_score": LevelScore(weight=0.4, data_var=0.3),
        "recovery": RecoveryContrast(weight=3.0, first_step=1),
        "levels": UniformLevels(),
    }
    return OneEnergy(
        energy,
        OwnProposal(energy.shape, energy.num_classes),
        ContinuousSchedule(),
        Langevin(2, step_factor=0.5),
        **{**settings, **parts},
    )


def _step(method: OneEnergy, step: int, batch: Batch | None = None) -> LossOutput:
    method.begin_step(step)
    return method(batch or _batch(method.energy.shape), _noise(step=step))


def _known(noise: Noise) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, ε, x_λ, λ, ᾱ, σ̄² of a step at its recorded noise."""
    x, eps = _batch().image, noise.normal("eps", (2,))
    logsnr = -5.1 + (9.8 + 5.1) * noise.uniform("level")
    alpha_bar, noise_var = torch.sigmoid(logsnr), torch.sigmoid(-logsnr)
    return (
        x,
        eps,
        alpha_bar.sqrt()[:, None] * x + noise_var.sqrt()[:, None] * eps,
        logsnr,
        alpha_bar,
        noise_var,
    )


def test_score_and_level_losses_at_recorded_noise() -> None:
    """Each sample's, written out from spec §13 for E = 0.4||x||² + 0.3 λ Σx, D = 2, c = 0."""
    out = _step(_method(), 0)
    x, eps, x_level, logsnr, alpha_bar, noise_var = _known(_noise())
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


def test_the_fokker_planck_loss_at_recorded_noise() -> None:
    """E = 0.4||x||² + 0.3 λ Σx has ΔE = 1.6, which signs find exactly; U's slope as above; D = 2."""
    method = _method(level_score=None, fokker_planck=FokkerPlanck(weight=0.7, every=2, limit=1e9))
    out = _step(method, 0)
    _, eps, x_level, logsnr, alpha_bar, noise_var = _known(_noise())
    sigma, slope = noise_var.sqrt(), 0.8 * x_level + 0.3 * logsnr[:, None]
    energy = 0.4 * x_level.square().sum(1) + 0.3 * logsnr * x_level.sum(1)
    level_slope = 0.3 * x_level.sum(1) / sigma + energy * 0.5 * alpha_bar / sigma - alpha_bar
    drift = slope.square().sum(1) - sigma * (x_level * slope).sum(1)
    losses = (level_slope - 0.5 * (2 * noise_var + drift - sigma * 1.6)) ** 2 / 2
    torch.testing.assert_close(out.watch["fokker_planck_loss"], losses, rtol=1e-8, atol=1e-8)
    score = (slope - eps).square().sum(1)
    torch.testing.assert_close(out.losses["energy"], (score + 0.7 * losses).mean(), rtol=1e-8, atol=0)
    assert set(out.watch) == {"score_loss", "fokker_planck_loss"}
    # its target is a number: the gradient is that of the level's slope alone
    out.losses["energy"].backward()
    quadratic = method.energy.energy
    in_a = 0.5 * x_level.square().sum(1) * 0.5 * alpha_bar / sigma
    residual = level_slope - 0.5 * (2 * noise_var + drift - sigma * 1.6)
    wanted = (2 * (slope - eps) * x_level).sum(1) + 0.7 * residual * in_a
    torch.testing.assert_close(quadratic.a.grad, wanted.mean(), rtol=1e-7, atol=1e-9)
    assert "fokker_planck_loss" not in _step(method, 1).watch


def test_the_fokker_planck_target_is_taken_without_dropout() -> None:
    """With a mask over units the probe's two slopes would differ by the mask, thousands of nats."""

    def target(rate: float) -> Tensor:
        net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Dropout(rate), nn.Linear(32, 2))
        with torch.no_grad():
            for value in net.parameters():
                value.copy_(torch.linspace(-0.5, 0.5, value.numel()).view_as(value))

        class OfX(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net

            def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
                return self.net(x)

        energy = NormalizedEnergy(NetworkEnergy(OfX(), (2,), data_var=0.3)).double()
        method = _method(energy, level_score=None, recovery=None, fokker_planck=FokkerPlanck())
        seen = {}
        inner = method.fokker_planck.target
        method.fokker_planck.target = lambda *given: seen.setdefault("target", inner(*given))
        _step(method, 0)
        return seen["target"]

    torch.testing.assert_close(target(0.5), target(0.0), rtol=1e-9, atol=1e-9)


def test_each_loss_alone_is_what_it_is_beside_the_others() -> None:
    both = _step(_method(), 0)
    for name, missing in (("score_loss", "level_score"), ("level_loss", "score")):
        alone = _step(_method(recovery=None, **{missing: None}), 0)
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
    method = _method(energy, **parts)
    out = _step(method, 0)
    x, _, _, logsnr, _, _ = _known(_noise())
    assert torch.equal(out.t, ContinuousSchedule(6).transition_of(logsnr))
    ladder = ContinuousSchedule(6)
    c = ladder.transition(ladder.transition_of(logsnr), torch.float64)
    c = c.map(lambda v: v[:, None])
    pair = _noise().child("recovery")
    x_s = c.alpha_s * x + c.sigma_s * pair.normal("eps", (2,))
    x_t = c.alpha_ts * x_s + c.sigma_ts * pair.normal("eps_step", (2,))
    denoised = ((x_t - 0.8 * c.sigma_t * x_t) / c.alpha_t).clamp(-1.1, 1.1)
    y = c.alpha_s * c.sigma_ts**2 / c.sigma_t**2 * denoised + c.alpha_ts * c.sigma_s**2 / c.sigma_t**2 * x_t
    y = y + c.posterior_var.sqrt() * _noise().normal("proposal", (2,))
    size = 0.5 / (1 / c.sigma_s**2 + c.alpha_ts**2 / c.sigma_ts**2).sqrt()
    for k in range(2):
        grad = 0.8 * y / c.sigma_s + c.alpha_ts * (c.alpha_ts * y - x_t) / c.sigma_ts**2
        y = y - size**2 / 2 * grad + size * _noise().normal("langevin", (2,), draw=k)
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
    out = _step(OneEnergy(energy, *parts, recovery=RecoveryContrast(), levels=UniformLevels()), 0)
    assert list(out.shown) == ["noisier", "proposals", "revised", "data"]
    assert torch.equal(out.shown["proposals"], out.shown["revised"])
    moved = _step(_method(energy, score=None, level_score=None, recovery=RecoveryContrast()), 0).shown
    assert not torch.equal(moved["proposals"], moved["revised"])
    for name in ("noisier", "proposals", "data"):
        assert torch.equal(moved[name], out.shown[name]), name
    c = ContinuousSchedule().transition(out.t, torch.float64).map(lambda v: v[:, None])
    x_s = c.alpha_s * _batch().image + c.sigma_s * _noise().child("recovery").normal("eps", (2,))
    torch.testing.assert_close(out.shown["data"], x_s)
    eps = (out.shown["noisier"] - c.alpha_ts * x_s) / c.sigma_ts
    torch.testing.assert_close(eps, _noise().child("recovery").normal("eps_step", (2,)))


def test_phases_add_up_and_save_what_they_dont_need(monkeypatch) -> None:
    """Score in steps 0..4, level in 1..3, recovery from 3: no chain is run and no slope asked in vain."""
    method = _method(
        level_score=LevelScore(weight=0.4, first_step=1, last_step=4),
        recovery=RecoveryContrast(weight=3.0, first_step=3),
        score=ScoreMatching(last_step=5),
    )
    ran: list[str] = []
    sample, slopes = method.sampler.sample, method.energy.slopes
    monkeypatch.setattr(method.sampler, "sample", lambda *a: ran.append("chain") or sample(*a))
    monkeypatch.setattr(method.energy, "slopes", lambda *a: ran.append("slopes") or slopes(*a))
    parts = {"score": ["score_loss"], "level": ["level_loss"]}
    expected = [["score"], ["score", "level"], ["score", "level"], ["score", "level", "chain"],
                ["score", "chain"], ["chain"]]  # fmt: skip
    for step, wanted in enumerate(expected):
        ran.clear()
        out = _step(method, step)
        for name, (figure,) in parts.items():
            assert (figure in out.watch) == (name in wanted), step
        assert ("energy_positive" in out.watch) == ("chain" in wanted) == ("chain" in ran), step
        assert ("slopes" in ran) == ("score" in wanted), step
        total = out.watch.get("score_loss", torch.zeros(1).double()).mean()
        total = total + 0.4 * out.watch.get("level_loss", torch.zeros(1).double()).mean()
        if "chain" in wanted:
            total = total + 3 * (out.watch["energy_positive"] - out.watch["energy_negative"]).mean()
        torch.testing.assert_close(out.losses["energy"].detach(), total, rtol=1e-12, atol=0)


def test_a_step_without_a_loss_is_refused() -> None:
    method = _method(score=ScoreMatching(last_step=2), level_score=None, recovery=None)
    method.begin_step(1)
    with pytest.raises(ConfigurationError, match="no loss of OneEnergy counts at step 2: mend their"):
        method.begin_step(2)


class Seen(Energy):
    """E = 0 of any sample; remembers the labels it was asked with."""

    def __init__(self) -> None:
        super().__init__((2,), 3)
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.labels: list[Tensor] = []

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        assert label is not None
        self.labels.append(label)
        return self.weight * y.sum(1)


@pytest.mark.parametrize("dropout", [0.0, 0.4, 1.0])
def test_labels_are_dropped_alike_in_every_part_of_a_step(dropout: float) -> None:
    """Slopes, proposal, chain, data and chain's ends see one label each, or none in the share `dropout`."""
    count = 2_000
    energy, label = Seen(), torch.arange(count) % 3
    method = _method(
        energy, level_score=None, recovery=RecoveryContrast(), label_dropout=dropout, score=ScoreMatching()
    )
    method.begin_step(0)
    x = torch.zeros(count, 2, dtype=torch.float64)
    method(Batch(x, label), _noise(torch.arange(count)))
    first = energy.labels[0]
    assert all(torch.equal(seen, first) for part in energy.labels for seen in part.split(count))
    assert len(energy.labels) >= 4
    assert torch.equal(first[first >= 0], label[first >= 0])
    assert (first < 0).double().mean().item() == pytest.approx(dropout, abs=0.04)


def test_labels_matter_and_networks_without_them_get_none() -> None:
    energy = NormalizedEnergy(Quadratic(3)).double()
    method = _method(energy, label_dropout=0.0)
    out = _step(method, 1)
    other = _step(method, 1, _batch(label=LABEL.flip(0)))
    changed = out.watch["score_loss"] != other.watch["score_loss"]
    assert torch.equal(changed, LABEL.flip(0) != LABEL)
    plain = _step(_method(), 1)
    assert torch.equal(
        plain.losses["energy"], _step(_method(), 1, _batch(label=LABEL.flip(0))).losses["energy"]
    )


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
    method = _method(NormalizedEnergy(make()).double())
    batch, rows = _batch(method.energy.shape), torch.tensor([4, 1])
    method.begin_step(1)
    whole = method(batch, _noise(step=1))
    part = method(Batch(batch.image[rows], LABEL[rows]), _noise(rows, step=1))
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
    out = _step(method, 0)
    t = (20 * _noise().uniform("level")).ceil().long()
    assert torch.equal(out.t, t)
    c = schedule.transition(t, torch.float64)
    eps = _noise().normal("eps", (2,))
    x_t = c.alpha_t[:, None] * _batch().image + c.sigma_t[:, None] * eps
    slope = 0.8 * x_t + 0.3 * c.logsnr_t[:, None]
    torch.testing.assert_close(out.losses["energy"], (slope - eps).square().sum(1).mean(), rtol=1e-9, atol=0)


def test_one_network_learns() -> None:
    method = _method()
    assert set(method.networks()) == {"energy"}
    assert method.models() == Networks(method.energy, method.initializer, method.schedule)


def test_only_the_energys_vectors_iterate_once_a_step() -> None:
    torch.manual_seed(0)
    energy = MLPEnergy((2,), width=8, depth=1, spectral_norm=True).double()
    method = _method(energy, level_score=None)
    buffers = [b.clone() for b in energy.buffers()]
    method.begin_step(1)
    after = [b.clone() for b in energy.buffers()]
    assert buffers and not any(map(torch.equal, buffers, after))
    method(_batch(), _noise(step=1)).losses["energy"].backward()
    assert all(map(torch.equal, energy.buffers(), after))


REFUSED = {
    "a level score without c": (
        lambda: _method(Quadratic()),
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
    "another law": (lambda: _method(levels=3), "OneEnergy.levels must be"),
    "a loss of another kind": (lambda: _method(score=RecoveryContrast()), "OneEnergy.score must be"),
    "dropout": (lambda: _method(label_dropout=1.5), "OneEnergy.label_dropout must be"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_refusals_are_one_line(fault: str) -> None:
    make, words = REFUSED[fault]
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


def _examples() -> MemoryExamples:
    noise = Noise(1, torch.arange(300))
    label = noise.integers("label", 0, 3)
    centre = torch.tensor([[0.8, -0.5], [-0.2, 0.4], [0.3, 0.3]])[label]
    return MemoryExamples(centre + 0.2 * noise.normal("x", (2,)), label, ["a", "b", "c"])


def _training() -> Training:
    torch.manual_seed(0)
    energy = NormalizedEnergy(MLPEnergy((2,), 3, width=8, depth=1, level_waves=30.0), width=8)
    return Training(_method(energy), {"energy": AdamW(lr=1e-2)}, EMA(0.5), Runtime(trackers=()), 0)


def _train(training: Training, steps: int, complete: bool) -> None:
    x = _batch().image.float()
    for _ in range(steps):
        training.step([Batch(x, LABEL)], [range(COUNT)])
        if complete:
            training.complete(_examples())


def test_completing_sets_both_constants_and_changes_no_training(monkeypatch) -> None:
    """Of the live and of the averaged weights, each by itself; steps after it are what they were."""
    monkeypatch.setattr(one_energy, "_CALIBRATION", 300)
    plain, completed = _training(), _training()
    _train(plain, 3, complete=False)
    generator = torch.get_rng_state()
    _train(completed, 3, complete=True)
    assert torch.equal(torch.get_rng_state(), generator)
    for group, tensors in completed.tensors().items():
        for name, value in tensors.items():
            assert torch.equal(value, plain.tensors()[group][name]) != name.endswith("constant"), (
                f"{group}/{name}"
            )
    live, average = (completed.tensors()[g]["constant"] for g in ("energy", "energy_ema"))
    assert live.shape == (4,) and not torch.equal(live, average)
    # each is what calibration finds of these weights alone
    for network, found in ((completed.networks["energy"], live), (completed.averages["energy"], average)):
        fresh = copy.deepcopy(network)
        assert isinstance(fresh, NormalizedEnergy)
        images, labels = _examples().rows(torch.arange(300))
        fresh.calibrate(images, labels[:, 0], -5.1, Noise(0, torch.arange(300), stream="calibration"))
        torch.testing.assert_close(fresh.constant, found)


def test_a_constant_is_found_once_a_step_and_anew_after_going_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the live and of the averaged weights each: the best step is saved twice."""
    training, calls = _training(), []
    calibrate = NormalizedEnergy.calibrate
    monkeypatch.setattr(
        NormalizedEnergy, "calibrate", lambda self, *given: calls.append(self) or calibrate(self, *given)
    )
    begun = copy.deepcopy((training.tensors(), training.numbers()))
    for step in (1, 2):
        _train(training, 1, complete=True)
        training.complete(_examples())
        assert len(calls) == 2 * step
    constant = training.tensors()["energy"]["constant"].clone()
    training.restore(*begun)
    _train(training, 2, complete=False)
    training.complete(_examples())
    assert len(calls) == 6 and torch.equal(training.tensors()["energy"]["constant"], constant)


def test_energies_without_a_constant_are_left_alone() -> None:
    method = _method(Quadratic(), level_score=None)
    before = copy.deepcopy(method.state_dict())
    method.complete(method.networks(), _examples(), torch.device("cpu"))
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


class One(LevelLaw):
    """Every sample at λ = 1."""

    def draw(self, schedule, noise) -> Tensor:
        return torch.ones_like(noise.uniform("level"))


def test_short_training_learns_a_gaussian() -> None:
    """100 steps of a quadratic at one level, the score loss alone: a and b of the true score, within 4%.

    Data N(m, v) with m = (0.4, 0.4), v = 0.3: ∇E = σ̄(x_λ - √ᾱm)/(ᾱv + σ̄²), so a = σ̄/s and b = -√ᾱ·0.4·a.
    """
    energy = Quadratic()
    method = _method(energy, level_score=None, recovery=None, levels=One())
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
    out = _step(method, 0)
    assert torch.isfinite(out.losses["energy"]) and (out.watch["displacement"] > 0).all()


def test_the_constant_is_measured_on_examples_spread_over_all(monkeypatch) -> None:
    """Four of ten: 0, 2, 5 and 7, with their own labels and noises, at the ladder's noisiest level."""
    asked: list[tuple] = []
    energy = NormalizedEnergy(Quadratic(3)).double()
    monkeypatch.setattr(energy, "calibrate", lambda *given: asked.append(given))
    monkeypatch.setattr(one_energy, "_CALIBRATION", 4)
    x, label = torch.arange(20.0).reshape(10, 2) / 20, torch.arange(10) % 3
    method = _method(energy)
    method.complete(method.networks(), MemoryExamples(x, label, ["a", "b", "c"]), torch.device("cpu"))
    ((images, labels, logsnr_min, noise),) = asked
    rows = [0, 2, 5, 7]
    assert torch.equal(images, x[rows].double()) and labels.tolist() == [0, 2, 2, 1]
    assert logsnr_min == -5.1
    wanted = Noise(0, torch.tensor(rows), stream="calibration", dtype=torch.float64)
    assert torch.equal(noise.normal("a", (2,)), wanted.normal("a", (2,)))


def test_a_single_class_is_a_class() -> None:
    energy = Seen()
    energy.num_classes = 1
    method = _method(energy, level_score=None, label_dropout=0.0)
    _step(method, 1, _batch(label=torch.zeros(COUNT, dtype=torch.int64)))
    assert all((seen == 0).all() for seen in energy.labels) and len(energy.labels) >= 4


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
    }
    assert arguments_of(OneEnergy(**given), "") == given
    plain = OneEnergy(*list(given.values())[:4], score=ScoreMatching())
    assert plain.label_dropout == 0.1 and isinstance(plain.levels, MixedLevels) and plain.levels.share == 0.5


def test_a_step_between_those_that_count_is_named_with_the_remedy() -> None:
    method = _method(score=None, level_score=None, recovery=None, fokker_planck=FokkerPlanck(every=2))
    method.begin_step(2)
    with pytest.raises(ConfigurationError, match=r"^no loss of OneEnergy counts at step 3: .* and every$"):
        method.begin_step(3)
