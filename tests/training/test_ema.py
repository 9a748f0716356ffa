"""Averages of weights: the formula in closed form, and vectors fit for the averaged weights (spec §5)."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from modules.core.checks import ConfigurationError
from modules.layers.spectral import SpectralLinear
from modules.training.ema import EMA

torch.set_num_threads(1)


def _constant(value: float) -> nn.Linear:
    layer = nn.Linear(2, 1).double()
    for p in layer.parameters():
        nn.init.constant_(p, value)
    return layer


def test_average_of_a_constant_approaches_it_geometrically() -> None:
    """From 0 towards 1: 1 - d^n after n updates."""
    live = _constant(1.0)
    average = EMA.copy_of(_constant(0.0))
    for n in range(50):
        EMA(0.9).update(average, live, n)
    for p in average.parameters():
        torch.testing.assert_close(p, torch.full_like(p, 1 - 0.9**50), rtol=1e-12, atol=0)


def test_recent_weights_count_most() -> None:
    """Weights 1, 2, 3 from a start at 0 with d = 0.5: 1/8 + 2/4 + 3/2."""
    average = EMA.copy_of(_constant(0.0))
    for n, value in enumerate((1.0, 2.0, 3.0)):
        EMA(0.5).update(average, _constant(value), n)
    assert average.weight[0, 0].item() == pytest.approx(2.125, rel=1e-14)


def test_ramp_forgets_the_start() -> None:
    """The start's weight is Π (1 + n)/(10 + n) = 1/C(N + 9, 9) while the ramp is below d."""
    average = EMA.copy_of(_constant(1.0))
    for n in range(20):
        EMA(0.9999, ramp=True).update(average, _constant(0.0), n)
    assert average.weight[0, 0].item() == pytest.approx(1 / math.comb(29, 9), rel=1e-12)


def test_ramp_ends_at_the_decay() -> None:
    """(1 + n)/(10 + n) passes 0.9 at n = 80."""
    for n, weight in ((79, 80 / 89), (80, 0.9), (500, 0.9)):
        average = EMA.copy_of(_constant(1.0))
        EMA(0.9, ramp=True).update(average, _constant(0.0), n)
        assert average.weight[0, 0].item() == pytest.approx(weight, rel=1e-12), n


def test_copy_is_apart_from_the_network() -> None:
    live = _constant(1.0).train()
    average = EMA.copy_of(live)
    assert not average.training and live.training
    assert not any(p.requires_grad for p in average.parameters())
    assert all(p.requires_grad for p in live.parameters())
    live.weight.data += 1
    assert (average.weight == 1.0).all()


def _trained() -> tuple[nn.Sequential, nn.Module]:
    """A spectrally normalized network after 30 wild updates, one power iteration each, and its average."""
    torch.manual_seed(0)
    live = nn.Sequential(SpectralLinear(24, 16), SpectralLinear(16, 12)).double()
    average = EMA.copy_of(live)
    for n in range(30):
        with torch.no_grad():
            for p in live.parameters():
                p += 0.1 * torch.randn_like(p)
        for layer in live:
            layer.iterate(1)
        EMA(0.9).update(average, live, n)
    return live, average


def _excess(network: nn.Module) -> list[float]:
    """|σ used / largest singular value - 1| of each layer."""
    return [abs(float(m.sigma() / torch.linalg.matrix_norm(m.weight, 2)) - 1) for m in network]


def test_vectors_are_never_averaged_and_converge_on_the_averaged_weights() -> None:
    """The live vectors miss the averaged weights' norm by more than 1% here; `ready` finds it."""
    live, average = _trained()
    for mean, now in zip(average, live, strict=True):
        assert torch.equal(mean.u, now.u) and torch.equal(mean.v, now.v)
        assert not torch.equal(mean.weight, now.weight)
    assert max(_excess(average)) > 0.01
    before = copy.deepcopy(live.state_dict())
    weights = [m.weight.clone() for m in average]
    assert EMA.ready(average) is average
    assert max(_excess(average)) < 1e-4
    assert all(torch.equal(m.weight, w) for m, w in zip(average, weights, strict=True))
    assert all(torch.equal(v, before[k]) for k, v in live.state_dict().items())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EMA(1.5), ["EMA.decay", "below 1"]),
        (lambda: EMA(-0.1), ["EMA.decay", "at least 0"]),
        (lambda: EMA("0.9"), ["EMA.decay", "number"]),
        (lambda: EMA(0.9, ramp=1), ["EMA.ramp", "True or False"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_average_that_never_moves_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"EMA\.decay must be below 1"):
        EMA(decay=1.0)
