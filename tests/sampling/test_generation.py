"""The walk down the levels on Gaussian data, where each level's law and the denoising step are known."""

from __future__ import annotations

import math

import pytest
import torch

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.analytic import GaussianEnergy
from modules.energies.mlp import MLPEnergy
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.guidance.none import NoGuidance
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.methods.networks import Networks
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation, Sampled
from modules.sampling.inpainting import Inpainting, Known
from modules.schedules.cosine import CosineSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from tests.gaussian_oracle import ENERGY, MEAN, VARIANCE, ExactProposal

torch.set_num_threads(1)

SCHEDULES = [CosineSchedule(), SubsampledLinearSchedule()]


def _noise(count: int, seed: int = 0) -> Noise:
    return Noise(seed, torch.arange(count), stream="sample", dtype=torch.float64)


def _walk(schedule, sampler: Langevin, count: int, factor: float = 1.0) -> Sampled:
    generation = Generation(sampler, denoise_factor=factor)
    label = torch.full((count,), -1)
    return generation.sample(Networks(ENERGY, ExactProposal(), schedule), Draw(label, _noise(count)))


@pytest.mark.parametrize("num_steps", [0, 5])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_every_level_has_its_law(schedule, num_steps: int) -> None:
    """20,000 samples with exact energies and proposals: means and variances of all levels, and x_0.

    Within 4 standard errors (0.028 of a deviation, 4% of the variance). A chain leaves the exact law as it
    is but for its steps' variance, a part s²λ/4 (at most 0.041; measured 0.023). With its drift's sign wrong
    the variances of most levels grow by 20 to 190%, without a drift by 10 to 70%.
    """
    count = 20_000
    levels = _walk(schedule, Langevin(num_steps), count).levels
    assert len(levels) == schedule.num_levels + 1
    assert levels[0].var(0).tolist() == pytest.approx([1, 1], rel=4 * math.sqrt(2 / count))
    c = schedule.transition(torch.arange(1, schedule.num_levels + 1), torch.float64)
    for t in range(schedule.num_levels, 0, -1):
        x_s, alpha, sigma = levels[schedule.num_levels + 1 - t], c.alpha_s[t - 1], c.sigma_s[t - 1]
        variance = alpha**2 * VARIANCE + sigma**2
        slack = 0.045 if num_steps else 0.0
        assert (x_s.var(0) / variance - 1).abs().max() < 4 * math.sqrt(2 / count) + slack, t
        assert ((x_s.mean(0) - alpha * MEAN) / (variance / count).sqrt()).abs().max() < 4, t


@pytest.mark.parametrize("num_levels", [1, 6])  # level 0 below the top too
def test_denoising_is_tweedies_formula(num_levels: int) -> None:
    """r = 1 gives E[x | x_0] of Gaussian data exactly; r = 0 x_0/√ᾱ_0; others their share of the way."""
    schedule = CosineSchedule(num_levels, logsnr_max=3.0)
    x_0 = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c = schedule.transition(torch.ones(1, dtype=torch.int64), torch.float64)
    alpha, sigma = c.alpha_s, c.sigma_s
    gain = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
    expected = MEAN + gain * (x_0 - alpha * MEAN)
    label = torch.full((50,), -1)
    none, some, once, twice = (
        Generation(Langevin(0), denoise_factor=r).denoise(
            Networks(ENERGY, ExactProposal(), schedule), x_0, label
        )
        for r in (0.0, 0.25, 1.0, 2.0)
    )
    torch.testing.assert_close(once, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(none, x_0 / alpha, rtol=1e-12, atol=0)
    torch.testing.assert_close(some - none, 0.25 * (expected - none), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(twice - none, 2 * (expected - none), rtol=1e-10, atol=1e-12)
    assert (once - none).abs().max() > 0.1


def test_denoised_samples_are_shrunk_data() -> None:
    """E[x | x_0] varies by v²ᾱ_0/(ᾱ_0 v + σ̄_0²): the data's variance less what the noise hid."""
    count = 20_000
    schedule = CosineSchedule(logsnr_max=3.0)
    x = _walk(schedule, Langevin(0), count).x
    alpha_bar = 1 / (1 + math.exp(-3.0))
    shrunk = VARIANCE**2 * alpha_bar / (alpha_bar * VARIANCE + 1 - alpha_bar)
    assert ((x.mean(0) - MEAN) / (shrunk / count).sqrt()).abs().max() < 4
    assert (x.var(0) / shrunk - 1).abs().max() < 4 * math.sqrt(2 / count)


def test_levels_draw_their_own_noise() -> None:
    """Where nothing but the noise of K = 1 moves x, the moves of different levels don't correlate."""
    count = 20_000
    flat = GaussianEnergy((2,), 0.0, 1e12)
    schedule = CosineSchedule()
    label = torch.full((count,), -1)
    draw = Draw(label, _noise(count))
    levels = list(Generation(Langevin(1)).walk(Networks(flat, CopyInitializer((2,)), schedule), draw))
    c = schedule.transition(torch.arange(1, 7), torch.float64)
    steps = torch.stack(
        [levels[6 - t + 1] * c.y_scale[t - 1] - levels[6 - t] for t in range(6, 0, -1)], 1
    ).flatten(1)
    both = torch.cat([levels[0], steps], 1)
    correlation = torch.corrcoef(both.T) - torch.eye(14, dtype=torch.float64)
    assert correlation.abs().max() < 4.5 / math.sqrt(count)
    # a step starts at x_t, where the tether is 0: its deviation is s_t
    torch.testing.assert_close(steps.std(0)[::2], c.step_size.flip(0), rtol=4 / math.sqrt(2 * count), atol=0)


@pytest.fixture
def conditional() -> tuple[MLPEnergy, MLPInitializer]:
    torch.manual_seed(0)
    pair = MLPEnergy((2,), 3, width=16, depth=1), MLPInitializer((2,), 3, width=16, depth=1)
    for network in pair:
        network.double()
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.3)
    return pair


def test_guidance_reaches_proposal_chain_and_denoising(conditional) -> None:
    """w = -1 is the walk without a label; a label, and w = 1, go other ways."""
    energy, initializer = conditional
    schedule, noise = CosineSchedule(logsnr_max=3.0), _noise(4)

    def sample(guidance: ClassifierFreeGuidance | None, label: int, num_steps: int = 2) -> Sampled:
        generation = Generation(Langevin(num_steps), guidance)
        return generation.sample(
            Networks(energy, initializer, schedule), Draw(torch.full((4,), label), noise)
        )

    plain = sample(None, -1)
    removed = sample(ClassifierFreeGuidance(-1.0), 2)
    torch.testing.assert_close(removed.x, plain.x, rtol=1e-10, atol=1e-10)
    conditional_x = sample(None, 2).x
    for scale, other in ((None, plain.x), (1.0, conditional_x)):
        x = sample(None if scale is None else ClassifierFreeGuidance(scale), 2).x
        assert (x - other).abs().max() > 1e-3

    # each part by itself: the proposal without a chain, then denoising from one x_0
    proposed = sample(None, -1, 0).levels[-1], sample(ClassifierFreeGuidance(1.0), 2, 0).levels[-1]
    assert (proposed[0] - proposed[1]).abs().max() > 1e-3
    x_0 = plain.levels[-1]
    denoised = [
        Generation(Langevin(0), guidance).denoise(
            Networks(energy, initializer, schedule), x_0, torch.full((4,), 2)
        )
        for guidance in (
            ClassifierFreeGuidance(-1.0),
            ClassifierFreeGuidance(0.0),
            ClassifierFreeGuidance(2.0),
        )
    ]
    torch.testing.assert_close(
        denoised[2] - denoised[0], 3 * (denoised[1] - denoised[0]), rtol=1e-8, atol=1e-12
    )
    assert (denoised[1] - denoised[0]).abs().max() > 1e-6


def test_samples_carry_no_graph(conditional) -> None:
    energy, initializer = conditional
    label = torch.tensor([0, -1])
    draw = Draw(label, _noise(2))
    out = Generation(Langevin(1)).sample(Networks(energy, initializer, CosineSchedule()), draw)
    assert not out.x.requires_grad and not any(x.requires_grad for x in out.levels)
    assert all(p.grad is None for network in conditional for p in network.parameters())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Generation(Langevin), ["Generation.sampler", "@Langevin()"]),
        (lambda: Generation(3), ["Generation.sampler", "Sampler", "3"]),
        (lambda: Generation(Langevin(), guidance=0.5), ["Generation.guidance", "Guidance"]),
        (lambda: Generation(Langevin(), denoise_factor=-1), ["Generation.denoise_factor", "at least 0"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_generation_keeps_what_it_was_made_with_and_without_it_is_plain() -> None:
    given = {
        "sampler": Langevin(3),
        "guidance": ClassifierFreeGuidance(0.5),
        "denoise_factor": 2.0,
        "inpainting": Inpainting(False),
        "qualities": {"fast": (3, 0), "best": [25, 2]},
    }
    assert arguments_of(Generation(**given), "") == given
    plain = Generation(given["sampler"])
    assert isinstance(plain.guidance, NoGuidance)
    assert (plain.denoise_factor, plain.inpainting, plain.qualities) == (1.0, None, None)


@pytest.mark.parametrize(
    ("qualities", "words"),
    [
        (3, "Generation.qualities must be"),
        ({"default": (3, 1)}, "Generation.qualities' names must be"),
        ({"fast": 3}, r"Generation.qualities\['fast'\] must be \(levels, chain steps\), got 3"),
        ({"fast": (3,)}, r"qualities\['fast'\] must be \(levels, chain steps\), got \(3,\)"),
        ({"best": (3, 1, 2)}, r"qualities\['best'\] must be \(levels, chain steps\)"),
        ({"best": "31"}, r"qualities\['best'\] must be \(levels, chain steps\)"),
        ({"fast": (0, 1)}, r"qualities\['fast'\]'s levels must be at least 1"),
        ({"fast": (1, -1)}, r"qualities\['fast'\]'s chain steps must be at least 0"),
    ],
)
def test_qualities_are_pairs_of_levels_and_steps(qualities, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Generation(Langevin(), qualities=qualities)


def test_a_watched_generation_tells_of_every_chain_and_the_first_of_none() -> None:
    seen: list[tuple[int, torch.Tensor]] = []
    generation = Generation(Langevin(2))
    watched = generation.watched(lambda c, chain: seen.append((int(c.t[0]), chain.y / c.y_scale[:, None])))
    networks = Networks(ENERGY, ExactProposal(), CosineSchedule())
    draw = Draw(torch.full((3,), -1), _noise(3))
    levels = watched.sample(networks, draw).levels
    assert [t for t, _ in seen] == [6, 5, 4, 3, 2, 1]
    assert all(torch.equal(y, x) for (_, y), x in zip(seen, levels[1:], strict=True))
    generation.sample(networks, draw)
    assert len(seen) == 6


class Told(Langevin):
    """Langevin that keeps the levels it was told."""

    def at(self, transition):
        self.told = transition.t.tolist()
        return self


def test_settling_is_untied_has_all_its_noise_and_leaves_what_is_known() -> None:
    """A step where nothing pulls: s z, which a correction would make less and a tether to x_0 would, too."""
    schedule, noise = CosineSchedule(logsnr_max=1.0), _noise(3)
    c = schedule.transition(torch.ones(1, dtype=torch.int64), torch.float64)
    networks = Networks(GaussianEnergy((2,), 0.0, 1e12), CopyInitializer((2,)), schedule)
    x_0, mask = noise.normal("x", (2,)), torch.tensor([[False, True]] * 3)
    draw = Draw(torch.full((3,), -1), noise, known=Known(torch.zeros_like(x_0), mask))
    moved = c.step_size * noise.child("settling").normal("langevin", (2,)) / c.y_scale
    for sampler in (Langevin(1, corrected=True), Told(1)):
        x = Generation(Langevin(7)).settle(networks, sampler, x_0, draw)
        torch.testing.assert_close(x, x_0 + moved * ~mask, rtol=1e-9, atol=1e-9)
    assert sampler.told == [1] * 3
    # two steps: the second is not drawn back by the first
    two = Generation(Langevin(7)).settle(networks, Langevin(2), x_0, draw)
    second = c.step_size * noise.child("settling").normal("langevin", (2,), draw=1) / c.y_scale
    torch.testing.assert_close(two, x_0 + (moved + second) * ~mask, rtol=1e-9, atol=1e-9)


def test_settling_is_guided(conditional) -> None:
    """w = -1 is without a label; a label moves, and w = 1 moves twice as far from that."""
    networks = Networks(*conditional, CosineSchedule(logsnr_max=1.0))
    noise = _noise(4)
    x_0 = noise.normal("x", (2,))

    def settled(guidance: ClassifierFreeGuidance | None, label: int) -> torch.Tensor:
        draw = Draw(torch.full((4,), label), noise)
        step = Langevin(1, noise_scale=0.0, step_factor=30.0)
        return Generation(Langevin(0), guidance).settle(networks, step, x_0, draw)

    plain, of_class = settled(None, -1), settled(None, 2)
    assert (of_class - plain).abs().max() > 1e-4
    torch.testing.assert_close(settled(ClassifierFreeGuidance(-1.0), 2), plain, rtol=1e-9, atol=1e-12)
    twice = settled(ClassifierFreeGuidance(1.0), 2)
    torch.testing.assert_close(twice - plain, 2 * (of_class - plain), rtol=1e-7, atol=1e-12)


def test_samples_have_the_dtype_of_their_noise() -> None:
    """float32 networks in float32: no level's coefficients widen them."""
    torch.manual_seed(0)
    networks = Networks(MLPEnergy((2,), width=8, depth=1), CopyInitializer((2,)), CosineSchedule())
    image, mask = torch.zeros(3, 2), torch.tensor([[True, False]] * 3)
    for known in (None, Known(image, mask)):
        draw = Draw.of_seed(0, 3, known=known)
        out = Generation(Langevin(1)).sample(networks, draw)
        assert {x.dtype for x in (out.x, *out.levels)} == {torch.float32}
        settled = Generation(Langevin(1)).settle(networks, Langevin(1), out.levels[-1], draw)
        assert settled.dtype == torch.float32
