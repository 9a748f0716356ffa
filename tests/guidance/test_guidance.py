"""Guidance: its identities, and the law it samples where that is known (spec §8)."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.tensors import sum_per_sample
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.recovery import RecoveryPotential
from modules.guidance.base import Guidance
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.guidance.none import NoGuidance
from modules.initializers.mlp import MLPInitializer
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)

LABEL = torch.tensor([0, 2, 1, -1, 2, 0])
NONE = torch.full((6,), -1)
TRANSITION = CosineSchedule().transition(torch.arange(1, 7), torch.float64)
Y = torch.randn(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture(scope="module")
def networks() -> tuple[MLPEnergy, MLPInitializer]:
    """Conditional, float64, every parameter moved off its start."""
    torch.manual_seed(0)
    pair = (MLPEnergy((2,), 3, width=16, depth=1), MLPInitializer((2,), 3, width=16, depth=1))
    for network in pair:
        network.double()
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.5)
    return pair


@pytest.fixture(params=["energy", "mean"])
def evaluate(request, networks) -> Callable[[Guidance, Tensor], Tensor]:
    """The guided energy or the guided mean at Y, given labels."""
    energy, initializer = networks
    if request.param == "energy":
        return lambda guidance, label: guidance.energy(energy, TRANSITION, label)(Y)
    return lambda guidance, label: guidance.mean(initializer, Y, TRANSITION, label)


def test_weight_zero_is_conditional(evaluate) -> None:
    assert torch.equal(evaluate(ClassifierFreeGuidance(0.0), LABEL), evaluate(NoGuidance(), LABEL))
    difference = evaluate(NoGuidance(), LABEL) - evaluate(NoGuidance(), NONE)
    changed = difference.reshape(6, -1).abs().amax(1)
    assert (changed[LABEL >= 0] > 1e-3).all() and changed[3] == 0


def test_weight_minus_one_is_unconditional(evaluate) -> None:
    torch.testing.assert_close(
        evaluate(ClassifierFreeGuidance(-1.0), LABEL), evaluate(NoGuidance(), NONE), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("scale", [0.5, 2.0, -0.3])
def test_one_batched_evaluation_equals_two(evaluate, scale: float) -> None:
    """The guided value lies on the line through the two values, 1 + w times their distance from none's."""
    none, conditional = evaluate(NoGuidance(), NONE), evaluate(NoGuidance(), LABEL)
    got = evaluate(ClassifierFreeGuidance(scale), LABEL)
    torch.testing.assert_close(got - none, (1 + scale) * (conditional - none), rtol=1e-10, atol=1e-12)


def test_without_a_label_any_weight_changes_nothing(evaluate) -> None:
    torch.testing.assert_close(
        evaluate(ClassifierFreeGuidance(3.0), NONE), evaluate(NoGuidance(), NONE), rtol=1e-12, atol=1e-12
    )


def test_gradient_is_guided_too(networks) -> None:
    energy, _ = networks

    def slope(guidance: Guidance, label: Tensor) -> Tensor:
        y = Y.clone().requires_grad_()
        (grad,) = torch.autograd.grad(guidance.energy(energy, TRANSITION, label)(y).sum(), y)
        return grad

    none, conditional = slope(NoGuidance(), NONE), slope(NoGuidance(), LABEL)
    got = slope(ClassifierFreeGuidance(2.0), LABEL)
    torch.testing.assert_close(got - none, 3 * (conditional - none), rtol=1e-10, atol=1e-12)


class ClassMeans(Energy):
    """-log p = ||y - m_c||²/2 in units of the energy scale, m_c = (c + 1)/2, and 0 without a label."""

    def __init__(self) -> None:
        super().__init__((1,), 3)

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        assert label is not None
        return transition.energy_scale * 0.5 * sum_per_sample((y - (label[:, None] + 1) / 2) ** 2)


def test_guided_chains_of_gaussian_classes() -> None:
    """At the top, classes N(m_c, 1) and N(0, 1) without label: w = 1.5 samples N(2.5 m_c, 1).

    4000 chains of each class; a mean must match within 4 standard errors, 0.063.
    """
    count = 4_000
    label = torch.arange(3).repeat_interleave(count)
    c = CosineSchedule().transition(torch.full_like(label, 6), torch.float64)
    bound = ClassifierFreeGuidance(1.5).energy(ClassMeans(), c, label)
    start = torch.zeros(3 * count, 1).double()
    noise = Noise(0, torch.arange(3 * count), dtype=torch.float64)
    sampler = Langevin(120, step_factor=float(0.4 / c.step_size[0]))  # s²λ = 0.16
    y = sampler.sample(RecoveryPotential(bound, c, start), start, c.step_size, noise).y.reshape(3, count)
    error = 4 / math.sqrt(count * 0.96)
    assert y.mean(1).tolist() == pytest.approx([1.25, 2.5, 3.75], abs=error)
    assert y.var(1).tolist() == pytest.approx([1 / 0.96] * 3, rel=4 * math.sqrt(2 / count))


@pytest.mark.parametrize("scale", ["0.5", None, True])
def test_faults_are_named(scale) -> None:
    with pytest.raises(ConfigurationError, match=r"ClassifierFreeGuidance\.scale must be a number"):
        ClassifierFreeGuidance(scale)


def test_without_a_scale_it_is_conditional(evaluate) -> None:
    """The default is w = 0, to the bit: one evaluation of the label alone."""
    assert ClassifierFreeGuidance().scale == 0
    assert torch.equal(evaluate(ClassifierFreeGuidance(), LABEL), evaluate(NoGuidance(), LABEL))
