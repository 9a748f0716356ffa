"""Spectral normalization: the singular values it leaves, and that nothing happens unasked."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from modules.layers.spectral import (
    SpectralConv2d,
    SpectralLinear,
    SpectralNormalized,
    converge,
    power_iterate,
    snapshot,
)


def _singular_values(weight: Tensor) -> Tensor:
    return torch.linalg.svdvals(weight.detach().double().flatten(1))


@pytest.mark.parametrize(
    "make", [lambda: SpectralConv2d(6, 10), lambda: SpectralConv2d(6, 3, 1), lambda: SpectralLinear(20, 7)]
)
def test_converged_weight_has_largest_singular_value_one(make) -> None:
    torch.manual_seed(0)
    layer = make().double()
    converge(layer, tolerance=1e-12, max_iterations=10_000)
    torch.testing.assert_close(_singular_values(layer.effective_weight())[0].item(), 1.0, rtol=1e-9, atol=0)
    # the direction of the weight is untouched
    ratio = layer.effective_weight() / layer.weight
    torch.testing.assert_close(ratio, torch.full_like(ratio, ratio.flatten()[0].item()))


@pytest.mark.parametrize(
    "make", [lambda: SpectralConv2d(32, 64), lambda: SpectralLinear(64, 64), lambda: SpectralLinear(20, 7)]
)
def test_fresh_layer_is_normalized_from_the_first_step(make) -> None:
    """To 1e-7 by 50 iterations; by 20 it would be 2e-3 off."""
    torch.manual_seed(0)
    assert abs(_singular_values(make().effective_weight())[0].item() - 1) < 1e-5


@pytest.mark.parametrize("sigma", [1e-5, 0.3, 0.999, 1.5, 40.0])
def test_bounded_never_enlarges_and_leaves_small_weights(sigma: float) -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(4, 5, bounded=True).double()
    with torch.no_grad():
        layer.weight.mul_(sigma / _singular_values(layer.weight)[0])
    converge(layer, tolerance=1e-12, max_iterations=10_000)
    used = _singular_values(layer.effective_weight())[0].item()
    assert used == pytest.approx(min(sigma, 1.0), rel=2e-6)
    assert (layer.effective_weight().abs() <= layer.weight.abs() * (1 + 1e-12)).all()


@pytest.mark.parametrize("bounded", [False, True])
def test_gradient_flows_to_the_weight_with_fixed_vectors(bounded: bool) -> None:
    torch.manual_seed(0)
    layer = SpectralLinear(4, 3, bounded=bounded).double()
    with torch.no_grad():
        layer.weight.mul_(2.0)

    def used(weight: Tensor) -> Tensor:
        return torch.func.functional_call(_Used(layer), {"layer.weight": weight}, ())

    assert torch.autograd.gradcheck(used, (layer.weight.detach().clone().requires_grad_(),))


class _Used(nn.Module):
    def __init__(self, layer: SpectralNormalized) -> None:
        super().__init__()
        self.layer = layer

    def forward(self) -> Tensor:
        return self.layer.effective_weight()


def test_one_iteration_is_torchs() -> None:
    """torch's own spectral norm, started at our u, gives the same weight after one iteration."""
    torch.manual_seed(0)
    ours = SpectralConv2d(3, 8)
    theirs = nn.Conv2d(3, 8, 3)
    theirs.load_state_dict({"weight": ours.weight.detach(), "bias": ours.bias.detach()})
    theirs = nn.utils.spectral_norm(theirs, n_power_iterations=1)
    start = nn.functional.normalize(torch.randn(8), dim=0)
    theirs.weight_u.copy_(start)
    ours.u.copy_(start)
    power_iterate(nn.Sequential(ours))
    theirs.train()(torch.zeros(1, 3, 4, 4))  # in training mode a forward iterates
    torch.testing.assert_close(ours.effective_weight(), theirs.weight, rtol=1e-6, atol=1e-7)


def test_only_power_iterate_moves_the_vectors() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(SpectralConv2d(3, 4), nn.Flatten(), SpectralLinear(64, 2)).train()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    before = {k: v.clone() for k, v in net.named_buffers()}
    net(torch.randn(2, 3, 4, 4)).sum().backward()
    for k, v in net.named_buffers():
        assert torch.equal(v, before[k])
    power_iterate(net)
    for k, v in net.named_buffers():
        assert not torch.equal(v, before[k])


def test_construction_draws_what_the_plain_layer_draws() -> None:
    """The vectors come from a generator of their own: weights and generator are as with nn.Conv2d."""
    torch.manual_seed(3)
    plain, after_plain = nn.Conv2d(3, 4, 3), torch.get_rng_state()
    torch.manual_seed(3)
    ours, after_ours = SpectralConv2d(3, 4), torch.get_rng_state()
    assert torch.equal(plain.weight, ours.weight) and torch.equal(after_plain, after_ours)


def test_backward_survives_iterating_in_between() -> None:
    torch.manual_seed(0)
    layer = SpectralLinear(3, 3).double()
    x = torch.randn(2, 3).double()
    (expected,) = torch.autograd.grad(layer(x).square().sum(), layer.weight)
    loss = layer(x).square().sum()
    power_iterate(layer, 3)
    (got,) = torch.autograd.grad(loss, layer.weight)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_snapshot_is_left_alone_by_an_optimizer_step() -> None:
    for layer in (nn.Linear(3, 2), SpectralLinear(3, 2)):
        with torch.no_grad():
            weight, bias = snapshot(layer)
            kept = weight.clone(), bias.clone()
            for p in layer.parameters():
                p.add_(1.0)
        assert torch.equal(weight, kept[0]) and torch.equal(bias, kept[1])
        assert not weight.requires_grad and not bias.requires_grad


def test_meta_device() -> None:
    with torch.device("meta"):
        layer = SpectralConv2d(3, 4)
    assert layer.u.is_meta and layer.v.shape == (27,) and layer.effective_weight().shape == (4, 3, 3, 3)


@pytest.mark.parametrize("bounded", [False, True])
def test_channels_last_changes_no_number(bounded: bool) -> None:
    """σ, the weight used, its gradient and the iterated vectors, whose order stays that of the rows."""
    torch.manual_seed(0)
    rows = SpectralConv2d(5, 4, bounded=bounded).double()
    last = copy.deepcopy(rows).to(memory_format=torch.channels_last)
    assert not last.weight.is_contiguous()
    for layer in (rows, last):
        with torch.no_grad():
            layer.u.copy_(nn.functional.normalize(torch.arange(1.0, 5.0), dim=0))
        layer.iterate(3)
        layer.effective_weight().pow(3).sum().backward()
    for name in ("u", "v"):
        torch.testing.assert_close(getattr(last, name), getattr(rows, name), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(last.effective_weight(), rows.effective_weight(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(last.weight.grad, rows.weight.grad, rtol=1e-12, atol=1e-14)
