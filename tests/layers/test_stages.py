"""Stages and activations: what they compute without a graph is what autograd computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modules.layers.activations import _ACTIVATIONS, activation
from modules.layers.attention import SelfAttention
from modules.layers.normalization import group_norm
from modules.layers.stages import PIXELS, ConvStage, DenseStage, FunctionStage, HalveStage, Stage

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
    "3x3, then halved": (ConvStage(_random(5, 4, 3, 3), _random(5)).halved(), IMAGE),
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


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_a_convolution_halved_is_the_means_of_its_output(size: int, channels_last: bool) -> None:
    weight, bias, h = _random(5, 4, size, size), _random(5), IMAGE
    if channels_last:
        weight, h = (x.to(memory_format=torch.channels_last) for x in (weight, h))
    wanted = F.avg_pool2d(F.conv2d(h, weight, bias, padding=size // 2), 2)
    halved = ConvStage(weight, bias).halved()
    assert halved is not None and halved.weight.shape == (5, 4, size + 1, size + 1)
    assert halved.weight.is_contiguous() != channels_last
    torch.testing.assert_close(halved(h), wanted, rtol=1e-12, atol=1e-12)
    assert halved.halved() is None  # of stride 2 already


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_a_convolution_prepared_pulls_the_same(size: int, channels_last: bool) -> None:
    weight, g = _random(5, 4, size, size), _random(2, 5, 6, 6)
    if channels_last:
        weight = weight.to(memory_format=torch.channels_last)
    stage = ConvStage(weight, None)
    stage.prepare(PIXELS - 1)
    assert stage.mirrored is None  # few pixels don't pay for turning the kernels
    wanted = stage.pull(g, IMAGE.shape)
    stage.prepare(PIXELS)
    assert stage.mirrored is not None and stage.mirrored.is_contiguous() != (channels_last and size > 1)
    torch.testing.assert_close(stage.pull(g, IMAGE.shape), wanted, rtol=1e-12, atol=1e-12)


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
