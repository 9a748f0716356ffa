"""Muon: matrices take orthogonal steps, the rest AdamW's, and a checkpoint brings both back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from modules.core.checks import ConfigurationError
from modules.training.muon import Muon, orthogonalized
from modules.training.optimizers import AdamW, Optimizer

torch.set_num_threads(1)


def _gradients(network: nn.Module, seed: int) -> list[Tensor]:
    """Give every parameter a gradient of noise; them all, weight and bias by turns."""
    generator = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(p.shape, generator=generator) for p in network.parameters()]
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        parameter.grad = gradient
    return gradients


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 20, 3), nn.Conv2d(20, 24, 3), nn.Linear(16, 64), nn.Linear(64, 2))


@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 16, 300), (2, 300, 16)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    """In the same directions: Uᵀ X V is nearly diagonal and near 1, at any scale of G."""
    torch.manual_seed(1)
    matrices = torch.randn(shape, dtype=torch.float64)
    u, sigma, vt = torch.linalg.svd(matrices, full_matrices=False)
    kept = sigma > 0.05 * sigma[:, :1]
    for scale in (1.0, 1e-6, 1e6):
        inside = u.mT @ orthogonalized(scale * matrices) @ vt.mT
        values = inside.diagonal(dim1=1, dim2=2)
        assert values[kept].min() > 0.6 and values.max() < 1.25
        assert (inside - torch.diag_embed(values)).abs().max() < 1e-6
    assert torch.equal(orthogonalized(torch.zeros(2, 16, 20)), torch.zeros(2, 16, 20))


def test_each_kind_moves_by_its_own_rule() -> None:
    """A kernel is the matrix of its outputs; small matrices and vectors move as by AdamW, bit for bit."""
    network, like = _network(), _network()
    rule = Muon(1e-3, matrix_lr=0.02, momentum=0.5, beta1=0.8, beta2=0.9, eps=1e-6)
    updater, adam = rule.start(network), AdamW(1e-3, 0.8, 0.9, 1e-6).start(like)
    conv, linear = network[1].weight, network[2].weight
    assert isinstance(conv, nn.Parameter) and isinstance(linear, nn.Parameter)
    before, tall = conv.detach().clone(), linear.detach().clone()
    first, first_tall = (gradient.clone() for gradient in _gradients(network, 1)[2:6:2])
    updater.step(0.25)
    moved = (before - conv.detach()).flatten(1)
    torch.testing.assert_close(moved, 0.25 * 0.02 * orthogonalized(first.flatten(1)[None])[0])
    # 64 outputs of 16 inputs: twice as far
    moved = tall - linear.detach()
    torch.testing.assert_close(moved, 0.25 * 0.02 * 2 * orthogonalized(first_tall[None])[0])

    middle = conv.detach().clone()
    second = _gradients(network, 2)[2].clone()
    updater.step(0.25)
    kept = 0.5 * first + second
    expected = 0.25 * 0.02 * orthogonalized((second + 0.5 * kept).flatten(1)[None])[0]
    torch.testing.assert_close((middle - conv.detach()).flatten(1), expected)

    for seed in (1, 2):
        _gradients(like, seed)
        adam.step(0.25)
    for index, name in ((0, "weight"), (0, "bias"), (1, "bias"), (2, "bias"), (3, "weight"), (3, "bias")):
        assert torch.equal(getattr(network[index], name), getattr(like[index], name)), (index, name)


def test_weight_decay_shrinks_matrices_alone() -> None:
    network, like = _network(), _network()
    decayed = Muon(1e-3, 0.02, weight_decay=0.5).start(network)
    plain = Muon(1e-3, 0.02).start(like)
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    for each, updater in ((network, decayed), (like, plain)):
        _gradients(each, 1)
        updater.step(0.25)
    for name, p in network.named_parameters():
        share = 0.25 * 0.02 * 0.5 if name in ("1.weight", "2.weight") else 0.0
        torch.testing.assert_close(p, like.get_parameter(name) - share * start[name])


def test_matrices_without_a_gradient_stay() -> None:
    network = _network()
    updater = Muon().start(network)
    _gradients(network, 1)
    conv = list(network.parameters())[2]
    conv.grad, before = None, conv.detach().clone()
    updater.step()
    assert torch.equal(conv, before) and not any(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("matrices_only", [False, True])
def test_a_checkpoint_goes_on_exactly(matrices_only: bool) -> None:
    def make() -> nn.Module:
        return nn.Linear(32, 32, bias=False) if matrices_only else _network()

    torch.manual_seed(0)
    straight = make()
    resumed = make()
    resumed.load_state_dict(straight.state_dict())
    updater, rule = Muon(warmup_steps=4).start(straight), Muon(warmup_steps=4)
    for seed in range(3):
        _gradients(straight, seed)
        updater.step()
    resumed.load_state_dict(straight.state_dict())
    other = rule.start(resumed)
    kept = {key: value.clone() for key, value in updater.tensors().items()}
    other.restore("energy", kept, updater.num_updates)
    for network, its in ((straight, updater), (resumed, other)):
        for seed in (7, 8):
            _gradients(network, seed)
            its.step()
    for ours, theirs in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_it_crosses_a_stretched_valley_that_adam_does_not() -> None:
    """||A(W - W*)B||² with condition 1e4: orthogonal steps don't mind how steep its walls are."""

    def distance(rule: Optimizer) -> float:
        torch.manual_seed(0)
        left, right = (torch.linalg.qr(torch.randn(16, 16))[0] for _ in range(2))
        stretch = torch.logspace(0, -2, 16)
        a, b = left * stretch, stretch[:, None] * right
        layer, target = nn.Linear(16, 16, bias=False), torch.randn(16, 16)
        updater = rule.start(layer)
        for _ in range(300):
            ((a.mT @ (layer.weight - target) @ b.mT) ** 2).sum().backward()
            updater.step()
        return (a.mT @ (layer.weight - target) @ b.mT).square().sum().detach().item()

    plain = min(distance(AdamW(lr, decay_steps=300)) for lr in (0.01, 0.03, 0.1))
    assert min(distance(Muon(1e-3, lr, decay_steps=300)) for lr in (0.1, 0.3)) < plain


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Muon(matrix_lr=0), ["Muon.matrix_lr", "above 0"]),
        (lambda: Muon(momentum=1.0), ["Muon.momentum", "below 1"]),
        (lambda: Muon(smallest=1), ["Muon.smallest", "at least 2"]),
        (lambda: Muon(beta1=1.5), ["Muon.beta1", "below 1"]),
        (lambda: Muon(beta2=-1), ["Muon.beta2", "at least 0"]),
        (lambda: Muon(eps=0), ["Muon.eps", "above 0"]),
        (lambda: Muon(weight_decay=-0.1), ["Muon.weight_decay", "at least 0"]),
        (lambda: Muon(lr=0), ["Muon.lr", "above 0"]),
    ],
)
def test_refused(make: Callable[[], Optimizer], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        make()
    assert all(word in str(error.value) for word in words)
