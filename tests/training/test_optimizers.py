"""Optimizers: the learning rates of the papers, clipping, and what a step leaves behind (spec §5)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from modules.core.checks import ConfigurationError
from modules.training.optimizers import AdamW, Updater

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("rule", "rates"),
    [
        (AdamW(1e-4, warmup_steps=10_000), {1: 1e-8, 5_000: 5e-5, 10_000: 1e-4, 90_000: 1e-4}),
        (AdamW(1e-4, warmup_steps=10_000, warmup_offset=-1), {1: 0.0, 5_001: 5e-5, 10_001: 1e-4}),
        (
            AdamW(1e-5, warmup_steps=10_000, warmup_offset=500),
            {1: 5.01e-7, 500: 1e-6, 9_500: 1e-5, 9_501: 1e-5, 90_000: 1e-5},
        ),
        (AdamW(0.3), {1: 0.3, 1000: 0.3}),
        # half a cosine: at a third of the way 3/4, half-way 1/2, at two thirds 1/4
        (AdamW(0.8, decay_steps=300), {1: 0.8, 100: 0.6, 150: 0.4, 200: 0.2, 300: 0.0, 400: 0.0}),
        (
            AdamW(0.8, warmup_steps=100, decay_steps=400, final_factor=0.5),
            {50: 0.4, 100: 0.8, 200: 0.7, 250: 0.6, 300: 0.5, 400: 0.4, 500: 0.4},
        ),
    ],
)
def test_learning_rates(rule: AdamW, rates: dict[int, float]) -> None:
    for update, rate in rates.items():
        assert rule.lr_at(update) == pytest.approx(rate, rel=1e-4, abs=1e-12), update


class Two(nn.Module):
    """Two numbers that learn and one that doesn't."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([10.0, -10.0], dtype=torch.float64))
        self.fixed = nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)


def _update(network: Two, updater: Updater, gradient: list[float]) -> torch.Tensor:
    network.x.grad = torch.tensor(gradient, dtype=torch.float64)
    norm = updater.clip()
    updater.step()
    return norm


def test_first_steps_of_adam_have_the_learning_rates_size() -> None:
    """A constant gradient moves a number by lr each update, against its sign; lr warms up over four."""
    network = Two()
    updater = AdamW(0.1, eps=1e-12, warmup_steps=4).start(network)
    for rate_sum in (0.025, 0.075, 0.15, 0.25, 0.35):
        _update(network, updater, [5.0, -0.01])
        assert network.x.tolist() == pytest.approx([10 - rate_sum, -10 + rate_sum], rel=1e-9)
    assert updater.num_updates == 5
    assert network.fixed.item() == 1.0


@pytest.mark.parametrize(
    ("clip_norm", "moves"),
    [
        # with eps = 1 the first update is lr g/(|g| + 1)
        (None, [3 / 4, 4 / 5]),
        (10.0, [3 / 4, 4 / 5]),
        (1.0, [0.6 / 1.6, 0.8 / 1.8]),
    ],
)
def test_gradients_are_clipped_by_their_global_norm(clip_norm: float | None, moves: list[float]) -> None:
    network = Two()
    updater = AdamW(1.0, eps=1.0, clip_norm=clip_norm).start(network)
    norm = _update(network, updater, [3.0, 4.0])
    assert norm.item() == pytest.approx(5.0)  # as it was before
    assert [10 - network.x[0].item(), -10 - network.x[1].item()] == pytest.approx(moves, rel=1e-5)


def test_weight_decay_is_decoupled() -> None:
    """Without a gradient a number shrinks by lr times the decay; with one, by Adam's step besides."""
    network = Two()
    updater = AdamW(0.1, weight_decay=0.5, eps=1e-12).start(network)
    _update(network, updater, [0.0, 1.0])
    assert network.x.tolist() == pytest.approx([10 * 0.95, -10 * 0.95 - 0.1], rel=1e-9)


def test_gradients_are_cleared() -> None:
    network = Two()
    _update(network, AdamW().start(network), [1.0, 1.0])
    assert network.x.grad is None


def test_a_factor_on_the_learning_rate() -> None:
    """Half the rate of the rule's, which warms up as ever, and half the step."""
    network = Two()
    updater = AdamW(0.1, eps=1e-12, warmup_steps=2).start(network)
    for rate in (0.025, 0.05):
        network.x.grad = torch.tensor([5.0, -0.01], dtype=torch.float64)
        assert updater.step(lr_factor=0.5) == pytest.approx(rate)
    assert network.x.tolist() == pytest.approx([10 - 0.075, -10 + 0.075], rel=1e-9)


def test_a_last_phase_takes_the_rate_on_to_almost_nothing() -> None:
    """From 0.2 of it at update 10 in a line: four fifths, three, ... of that; a run cut short has none."""
    rule = AdamW(1.0, warmup_steps=2, decay_steps=10, final_factor=0.2, end_steps=14)
    rates = [rule.lr_at(n) for n in range(10, 16)]
    assert rates == pytest.approx([0.2, 0.16, 0.12, 0.08, 0.04, 0.0], abs=1e-12)
    for end in (0, 5, 10):
        short = AdamW(1.0, warmup_steps=2, decay_steps=10, final_factor=0.2, end_steps=end)
        assert [short.lr_at(n) for n in (6, 10, 11)] == pytest.approx([0.6, 0.2, 0.2])
    assert AdamW(1.0, end_steps=4).lr_at(2) == pytest.approx(0.6)


def test_it_minimizes() -> None:
    network = Two()
    updater = AdamW(0.5, decay_steps=300).start(network)
    for _ in range(300):
        ((network.x - torch.tensor([1.0, 2.0])) ** 2).sum().backward()
        updater.step()
    assert network.x.tolist() == pytest.approx([1.0, 2.0], abs=1e-3)


def test_gradients_that_are_not_finite_show_in_the_norm() -> None:
    network = Two()
    assert not math.isfinite(_update(network, AdamW(clip_norm=1.0).start(network), [math.nan, 1.0]).item())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AdamW(0), ["AdamW.lr", "above 0"]),
        (lambda: AdamW("1e-4"), ["AdamW.lr", "number"]),
        (lambda: AdamW(clip_norm=0), ["AdamW.clip_norm", "above 0"]),
        (lambda: AdamW(warmup_steps=-1), ["AdamW.warmup_steps", "at least 0"]),
        (lambda: AdamW(warmup_offset=0.5), ["AdamW.warmup_offset", "integer"]),
        (lambda: AdamW(warmup_offset=-2), ["AdamW.warmup_offset", "at least -1"]),
        (lambda: AdamW(warmup_steps=100, decay_steps=100), ["AdamW.decay_steps", "above warmup_steps = 100"]),
        (lambda: AdamW(final_factor=2), ["AdamW.final_factor", "at most 1"]),
        (lambda: AdamW(beta1=1.5), ["AdamW.beta1", "below 1"]),
        (lambda: AdamW(eps=0), ["AdamW.eps", "above 0"]),
        (lambda: AdamW(weight_decay=-1), ["AdamW.weight_decay", "at least 0"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
