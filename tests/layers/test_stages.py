"""Stages and activations: what they compute without a graph is what autograd computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.layers.activations import _ACTIVATIONS, activation
from modules.layers.attention import SelfAttention
from modules.layers.normalization import group_norm
from modules.layers.stages import ConvStage, DenseStage, FunctionStage, HalveStage, Stage

torch.set_num_threads(1)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def _attention() -> Stage:
    attention = SelfAttention(4, group_norm("x", 2, 4), num_heads=2).double()
    attention.out.weight.data.copy_(_random(4, 4, 1, 1))  # which starts at zero
    return attention.freeze(None, torch.float64)


IMAGE = _random(2, 4, 6, 6)
STAGES: dict[str, tuple[Stage, Tensor]] = {
    "3x3": (ConvStage(_random(5, 4, 3, 3), _random(5)), IMAGE),
    "1x1 without a bias": (ConvStage(_random(5, 4, 1, 1), None), IMAGE),
    "stride 2": (ConvStage(_random(5, 4, 3, 3), _random(5), stride=2), IMAGE),
    "dense": (DenseStage(_random(5, 4), _random(5)), _random(3, 4)),
    "halve": (HalveStage(), IMAGE),
    "by autograd": (FunctionStage(lambda h: h.sin() * h.sum((2, 3), keepdim=True)), IMAGE),
    "attention": (_attention(), IMAGE),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_its_linearization(name: str) -> None:
    stage, h = STAGES[name]
    leaf = h.clone().requires_grad_()
    wanted = stage(leaf)
    g = torch.randn_like(wanted)
    (wanted_grad,) = torch.autograd.grad(wanted, leaf, g)
    given = h.clone()
    out, pull = stage.linearize(given)
    assert not out.requires_grad and torch.equal(given, h)  # the input stays as it is
    torch.testing.assert_close(out, wanted, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(pull(g.clone()), wanted_grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", _ACTIVATIONS)
def test_an_activation_is_its_linearization(name: str) -> None:
    act = activation("x", name)
    x = torch.linspace(-30, 30, 1001, dtype=torch.float64)  # tails included
    leaf = x.clone().requires_grad_()
    wanted = act(leaf)
    g = torch.randn_like(x)
    (wanted_grad,) = torch.autograd.grad(wanted, leaf, g)
    out, kept = act.linearize(x)
    torch.testing.assert_close(out, wanted.detach(), rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(act.backward(g.clone(), kept), wanted_grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", _ACTIVATIONS)
def test_consuming_leaves_the_gradient_right(name: str) -> None:
    """Overwriting its input must not spoil what autograd keeps."""
    act, x = activation("x", name), torch.linspace(-3, 3, 61, dtype=torch.float64)
    grads = []
    for function in (act, act.consume):
        leaf = x.clone().requires_grad_()
        out = function(2.0 * leaf)
        grads.append(torch.autograd.grad(out.square().sum(), leaf)[0])
        assert torch.equal(leaf.detach(), x)
    assert torch.equal(*grads)
