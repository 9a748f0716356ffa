"""Compositions of conditions and of models: identities, and products of Gaussians in closed form."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import launch
from modules import runs
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Transition
from modules.energies.mlp import MLPEnergy
from modules.energies.recovery import energy_and_grad
from modules.energies.sum import EnergySum
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.guidance.composition import Composition
from modules.guidance.none import NoGuidance
from modules.initializers.base import Initializer
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.sum import InitializerSum
from modules.methods.networks import Networks
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from tests.correlated_gaussian import CorrelatedGaussian

torch.set_num_threads(1)

NONE = torch.full((6,), -1)
TRANSITION = CosineSchedule().transition(torch.arange(1, 7), torch.float64)
Y = torch.randn(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture(scope="module")
def networks() -> tuple[MLPEnergy, MLPInitializer]:
    torch.manual_seed(0)
    pair = MLPEnergy((2,), 3, width=16, depth=1), MLPInitializer((2,), 3, width=16, depth=1)
    for network in pair:
        network.double()
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.5)
    return pair


@pytest.fixture(params=["energy", "slope", "mean"])
def evaluate(request, networks):
    """The guided energy, its gradient or the guided mean at Y, given labels."""
    energy, initializer = networks
    if request.param == "mean":
        return lambda guidance, label: guidance.mean(initializer, Y, TRANSITION, label)
    place = ("energy", "slope").index(request.param)
    return lambda guidance, label: energy_and_grad(guidance.energy(energy, TRANSITION, label), Y)[place]


@pytest.mark.parametrize("scale", [0.0, 1.5, -0.4])
def test_one_condition_is_classifier_free_guidance(evaluate, scale: float) -> None:
    """Of weight 1 + w, to the last digits."""
    composed = evaluate(Composition((2,), (1 + scale,)), NONE)
    guided = evaluate(ClassifierFreeGuidance(scale), torch.full((6,), 2))
    torch.testing.assert_close(composed, guided, rtol=1e-11, atol=1e-11)


def test_conditions_add_their_differences(evaluate) -> None:
    """Two conditions, one negated, and a sample's own label in some rows."""
    label = torch.tensor([-1, 0, 1, 2, -1, 0])
    plain = {c: evaluate(NoGuidance(), torch.full((6,), c)) for c in (-1, 0, 1)}
    own = evaluate(NoGuidance(), label)
    expected = own + 0.7 * (plain[0] - plain[-1]) - 1.3 * (plain[1] - plain[-1])
    composed = evaluate(Composition((0, 1), (0.7, -1.3)), label)
    torch.testing.assert_close(composed, expected, rtol=1e-10, atol=1e-10)
    assert (composed - own).abs().max() > 1e-2


GAUSSIANS = [
    CorrelatedGaussian(
        torch.tensor([0.8, 0.0], dtype=torch.float64),
        torch.tensor([[0.6, 0.3], [0.3, 0.5]], dtype=torch.float64),
    ),
    CorrelatedGaussian(
        torch.tensor([-0.2, 0.5], dtype=torch.float64),
        torch.tensor([[0.4, -0.1], [-0.1, 0.9]], dtype=torch.float64),
    ),
]
WEIGHTS = (1.0, 0.6)
LADDER = CosineSchedule(2, logsnr_max=3.0, logsnr_min=-3.0)


def _product(transition: Transition) -> tuple[Tensor, Tensor]:
    """Mean and precision of Π_m p_m^w_m of the level's marginals."""
    laws = [energy.law(transition) for energy in GAUSSIANS]
    precision = sum(w * p for w, (_, p) in zip(WEIGHTS, laws, strict=True))
    slope = sum(w * p @ m for w, (m, p) in zip(WEIGHTS, laws, strict=True))
    return torch.linalg.solve(precision, slope), precision


@pytest.mark.parametrize("level", [1, 2])
def test_long_chains_sample_the_product(level: int) -> None:
    """The recovery conditional (level 1 of 2) and the top marginal, 4,000 chains: mean and covariance.

    Within 4.5 standard errors and the steps' 2.6% of variance.
    """
    count = 4_000
    c = LADDER.transition(torch.full((count,), level), torch.float64)
    x_t = torch.tensor([0.9, -0.6], dtype=torch.float64)
    mean, precision = _product(c)
    if level == 1:  # the tether's precision and pull
        tether = 1 / c.sigma_ts[0] ** 2
        total = precision + tether * torch.eye(2, dtype=torch.float64)
        mean, precision = torch.linalg.solve(total, precision @ mean + tether * x_t), total
    longest = float(torch.linalg.eigvalsh(precision).max())
    generation = Generation(Langevin(800, step_factor=math.sqrt(0.1 / longest) / float(c.step_size[0])))
    x_s = generation.descend(
        Networks(EnergySum(GAUSSIANS, WEIGHTS), CopyInitializer((2,)), CosineSchedule()),
        c,
        x_t.expand(count, 2),
        torch.full((count,), -1),
        Noise(0, torch.arange(count), dtype=torch.float64),
    )
    y = x_s * c.y_scale[:, None]
    covariance = torch.linalg.inv(precision)
    scale = covariance.diagonal().sqrt()
    assert ((y.mean(0) - mean) / (scale / math.sqrt(count))).abs().max() < 4.5
    error = (torch.cov(y.T) - covariance) / (scale[:, None] * scale)
    assert error.abs().max() < 0.026 + 4.5 * math.sqrt(2 / count)
    one = GAUSSIANS[0].law(c) if level == 2 else GAUSSIANS[0].recovery_law(c, x_t)
    assert ((one[0] - mean) / scale).abs().max() > 0.3  # a single model has another mean


class Posterior(Initializer):
    """The exact mean of y given x_t of Gaussian data, by conditioning the joint Gaussian (y, x_t)."""

    def __init__(self, energy: CorrelatedGaussian) -> None:
        super().__init__(energy.shape)
        self.data = [energy.mean, energy.covariance]

    def mean(self, x_t: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        mean, covariance = self.data
        c = transition.map(lambda v: v[0])
        identity = torch.eye(2, dtype=torch.float64)
        spread_s = c.alpha_s**2 * covariance + c.sigma_s**2 * identity
        spread_t = c.alpha_t**2 * covariance + c.sigma_t**2 * identity
        scale = torch.where(c.is_top, 1.0, c.alpha_ts)
        gain = scale * c.alpha_ts * spread_s @ torch.linalg.inv(spread_t)
        return scale * c.alpha_s * mean + (x_t - c.alpha_t * mean) @ gain.T


@pytest.mark.parametrize("level", [1, 2])
def test_composed_means_follow_the_product_at_the_noisier_level(level: int) -> None:
    """Tweedie's formula for the product's score: g = (x_t + σ_t² ∇ log Π p_m(x_t)^w_m), top: over √α_T."""
    c = LADDER.transition(torch.full((6,), level), torch.float64)
    got = InitializerSum([Posterior(energy) for energy in GAUSSIANS], WEIGHTS).mean(Y, c)
    score = torch.zeros_like(Y)
    for energy, weight in zip(GAUSSIANS, WEIGHTS, strict=True):
        identity = torch.eye(2, dtype=torch.float64)
        spread = c.alpha_t[0] ** 2 * energy.covariance + c.sigma_t[0] ** 2 * identity
        score -= weight * (Y - c.alpha_t[0] * energy.mean) @ torch.linalg.inv(spread)
    expected = Y + c.sigma_ts[:, None] ** 2 * score
    if level == 2:
        expected = expected / c.alpha_ts[:, None]
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


def test_sums_and_labels_that_reach_those_that_know_them(networks) -> None:
    """A sum of one is it, and so is one and a half of it less a half."""
    energy, initializer = networks
    label = torch.tensor([0, 1, 2, -1, 0, 1])
    torch.testing.assert_close(EnergySum([energy], [1.0])(Y, TRANSITION, label), energy(Y, TRANSITION, label))
    torch.testing.assert_close(
        InitializerSum([initializer], [1.0])(Y, TRANSITION, label), initializer(Y, TRANSITION, label)
    )
    torch.testing.assert_close(
        EnergySum([energy] * 2, [1.5, -0.5])(Y, TRANSITION, label), energy(Y, TRANSITION, label)
    )
    torch.testing.assert_close(
        InitializerSum([initializer] * 2, [1.5, -0.5])(Y, TRANSITION, label),
        initializer(Y, TRANSITION, label),
    )
    torch.manual_seed(1)
    unlabelled = MLPEnergy((2,), 0, width=8, depth=1).double()
    torch.nn.init.normal_(next(unlabelled.parameters()))
    both = EnergySum([energy, unlabelled], [1.0, 2.0])
    assert both.num_classes == 3
    expected = energy(Y, TRANSITION, label) + 2 * unlabelled(Y, TRANSITION)
    torch.testing.assert_close(both(Y, TRANSITION, label), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Composition((1, 2), (1.0,)), "a weight for each label, got 1 weights, 2 labels"),
        (lambda: Composition((), ()), "a weight for each label"),
        (lambda: Composition((-1,), (1.0,)), "labels' entries must be at least 0"),
        (lambda: EnergySum([], []), "EnergySum needs at least one part"),
        (lambda: EnergySum(GAUSSIANS, [1.0]), "one weight for each of 2 parts, got 1"),
        (lambda: EnergySum([MLPEnergy((2,)), MLPEnergy((3,))], [1, 1]), "different shapes"),
        (lambda: EnergySum([MLPEnergy((2,), 2), MLPEnergy((2,), 3)], [1, 1]), "different classes.*2, 3"),
        (lambda: InitializerSum([CopyInitializer((2,))], [1.0]), "CopyInitializer proposes no mean"),
    ],
)
def test_faults_are_named(make, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


@pytest.fixture(scope="module")
def run(tiny_run):
    return runs.load(tiny_run)


def test_runs_compose(run, unlabelled) -> None:
    """Of one run with itself, half and half, and of one condition: what the run does alone."""
    plain = run.generate(3, seed=1)
    halves = run.composed_with([run], [0.5, 0.5]).generate(3, seed=1)
    torch.testing.assert_close(halves.x, plain.x, rtol=0, atol=2e-3)
    guided = run.generate(3, label=4, guidance=1.0, seed=1)
    torch.testing.assert_close(
        run.with_conditions([4], [2.0]).generate(3, seed=1).x, guided.x, rtol=0, atol=2e-3
    )
    assert (guided.x - plain.x).abs().max() > 0.01
    other = runs.load(unlabelled)
    mixed = run.composed_with([other], [1.0, 0.5])
    assert (mixed.generate(3, label=4, seed=1).x - plain.x).abs().max() > 0.01
    other.method = copy.copy(other.method)
    other.method.schedule = CosineSchedule(step_variance=2e-4)
    with pytest.raises(ConfigurationError, match=r"has another schedule than .*share levels and b²"):
        run.composed_with([other], [1.0, 1.0])
    with pytest.raises(ConfigurationError, match="trained without labels: there are none to compose"):
        other.with_conditions([1], [1.0])


def _task(run, output, *options: str) -> int:
    return launch.main(["--task", "compose", "--run", str(run), "--output", str(output), *options])


def test_the_task_writes_what_python_gives(tiny_run, unlabelled, run, tmp_path) -> None:
    options = ["--labels", "3", "5", "--label-weights", "1.5", "-0.5", "--num", "4", "--seed", "2"]
    options += ["--with", str(unlabelled), "--run-weights", "1", "0.5"]
    assert _task(tiny_run, tmp_path, *options) == 0
    assert {p.name for p in tmp_path.glob("[!.]*")} == {"grid.png", "samples.npz", "compose.json"}
    composed = run.composed_with([runs.load(unlabelled)], [1.0, 0.5]).with_conditions([3, 5], [1.5, -0.5])
    x = composed.generate(4, seed=2).x.clamp(-1, 1)
    images = np.load(tmp_path / "samples.npz")["images"]
    assert abs(images - ((x.numpy() + 1) * 127.5)).max() <= 1.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "needs --labels, or other runs --with"),
        (
            ["--labels", "3", "--label-weights", "1", "2"],
            "--label-weights needs one weight for each class, 1",
        ),
        (["--labels", "12"], "a label must be in 0..9"),
        (["--labels", "cat"], "no class is named 'cat'"),
        (["--labels", "3", "--label-weights", "nan"], "Composition.weights' entries must be finite"),
        (["--with", "nowhere"], "nowhere is not the folder of a run"),
        (
            ["--with", "UNLABELLED", "--set", "CosineSchedule.step_variance=2e-4"],
            "has another schedule than",
        ),
        (["--with", "UNLABELLED", "--run-weights", "1"], "--run-weights needs one weight for each run, 2"),
    ],
)
def test_a_fault_is_one_line_and_writes_nothing(
    tiny_run, unlabelled, tmp_path, capsys, options, words
) -> None:
    options = [str(unlabelled) if option == "UNLABELLED" else option for option in options]
    assert _task(tiny_run, tmp_path / "out", *options) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and words in printed
    assert not (tmp_path / "out").exists()


def test_labels_of_a_run_without_any_are_refused(unlabelled, tmp_path, capsys) -> None:
    assert _task(unlabelled, tmp_path / "out", "--labels", "3") == 2
    assert "trained without labels: there are none to compose" in capsys.readouterr().err


def test_the_first_class_is_a_label_of_its_own(evaluate) -> None:
    """Samples that are all of class 0 keep it; of one class none is left where its own weight is none."""
    first = torch.zeros(6, dtype=torch.int64)
    plain = {c: evaluate(NoGuidance(), torch.full((6,), c)) for c in (-1, 0, 1)}
    composed = evaluate(Composition((1,), (0.7,)), first)
    torch.testing.assert_close(composed, plain[0] + 0.7 * (plain[1] - plain[-1]), rtol=1e-10, atol=1e-10)
    whole = evaluate(Composition((1,), (1.0,)), NONE)
    torch.testing.assert_close(whole, plain[1], rtol=1e-10, atol=1e-10)
