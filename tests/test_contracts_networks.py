"""Every energy and every initializer keeps the interface's promises; a class left out of a table fails."""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import modules.energies
import modules.initializers
from modules.core.checks import ConfigurationError
from modules.core.types import Transition
from modules.energies.alternatives import AnyOf, ButNot
from modules.energies.analytic import GaussianEnergy, MixtureEnergy
from modules.energies.base import Energy
from modules.energies.dense_resnet import DenseResNet
from modules.energies.drl_resnet import RecoveryResNet
from modules.energies.image import NetworkEnergy
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.resnet import CooperativeResNet
from modules.energies.sum import EnergySum
from modules.energies.unet import UNetEnergy
from modules.initializers.base import Initializer
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import GaussianStep, OwnProposal
from modules.initializers.residual import NetworkInitializer
from modules.initializers.sum import InitializerSum
from modules.initializers.unet import UNet
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)

IMAGE = (1, 8, 8)
SMALL_NET = {"channels": 8, "channel_mult": (1, 2), "num_blocks": 1}


class Bent(nn.Module):
    """A user's network: one dense layer, bent by level and label."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer, self.bend = nn.Linear(3, 3), nn.Linear(1 + num_classes + 1, 3)
        self.num_classes = num_classes

    def forward(self, x: Tensor, logsnr: Tensor, label: Tensor | None = None) -> Tensor:
        seen = torch.zeros_like(logsnr).long() if label is None else label + 1
        one_hot = nn.functional.one_hot(seen, self.num_classes + 1).to(x.dtype)
        bend = self.bend(torch.cat([torch.sigmoid(0.3 * logsnr)[:, None], one_hot], 1))
        return torch.tanh(self.layer(x)) * bend


def _density(num_classes: int, depth: int) -> NormalizedEnergy:
    return NormalizedEnergy(MLPEnergy((3,), num_classes, 16, depth), width=8)


ENERGIES: dict[type, Callable[[int], Energy]] = {
    CooperativeResNet: lambda n: CooperativeResNet(IMAGE, n, **SMALL_NET),
    DenseResNet: lambda n: DenseResNet((3,), n, width=8, width_mult=(1, 2)),
    RecoveryResNet: lambda n: RecoveryResNet(IMAGE, n, attention_resolutions=(4,), **SMALL_NET),
    MLPEnergy: lambda n: MLPEnergy((3,), n, width=16, depth=1),
    GaussianEnergy: lambda n: GaussianEnergy((3,), 0.2, 0.5),
    MixtureEnergy: lambda n: MixtureEnergy([[0.1, 0.2, 0.3], [1.0, -1.0, 0.0]], [0.2, 0.3]),
    UNetEnergy: lambda n: UNetEnergy(
        IMAGE, n, dim=8, dim_mults=(1, 2), num_blocks=1, attention_resolutions=(4,), groups=4
    ),
    NetworkEnergy: lambda n: NetworkEnergy(Bent(n), (3,), n, "residual"),
    NormalizedEnergy: lambda n: NormalizedEnergy(MLPEnergy((3,), n, width=16, depth=1), width=8),
    AnyOf: lambda n: AnyOf([_density(n, 1), _density(n, 2)], (0.7, 0.4)),
    ButNot: lambda n: ButNot(_density(n, 1), _density(n, 2), strength=0.7),
    EnergySum: lambda n: EnergySum([MLPEnergy((3,), n, 16, 1), MLPEnergy((3,), n, 16, 1)], (0.7, 0.4)),
}
INITIALIZERS: dict[type, Callable[[int], Initializer]] = {
    UNet: lambda n: UNet(IMAGE, n, dim=8, dim_mults=(1, 2), num_blocks=1, groups=4),
    MLPInitializer: lambda n: MLPInitializer((3,), n, width=16, depth=1),
    NetworkInitializer: lambda n: NetworkInitializer(Bent(n), (3,), n),
    CopyInitializer: lambda n: CopyInitializer(IMAGE, n),
    InitializerSum: lambda n: InitializerSum(
        [MLPInitializer((3,), n, 16, 1), MLPInitializer((3,), n, 16, 1)], (0.7, 0.4)
    ),
}
# what has no mean without an energy keeps other promises: tests/initializers/test_own_proposals.py
OWN_INITIALIZERS: dict[type, Callable[[int], Initializer]] = {
    OwnProposal: lambda n: OwnProposal((3,), n),
    GaussianStep: lambda n: GaussianStep((3,), n),
}
UNLABELLED = {GaussianEnergy, MixtureEnergy}  # no num_classes argument
INDIFFERENT = {CopyInitializer}  # takes labels and ignores them


def _found(package, base: type) -> set[type]:
    """The concrete subclasses of `base` that the package's modules define."""
    found = set()
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        module = importlib.import_module(info.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, base) and kind.__module__ == info.name and not inspect.isabstract(kind):
                found.add(kind)
    return found


def test_tables_are_complete() -> None:
    assert _found(modules.energies, Energy) == set(ENERGIES)
    assert _found(modules.initializers, Initializer) == set(INITIALIZERS | OWN_INITIALIZERS)


NETWORKS = ENERGIES | INITIALIZERS
everyone = pytest.mark.parametrize("kind", NETWORKS, ids=lambda k: k.__name__)
every_energy = pytest.mark.parametrize("kind", ENERGIES, ids=lambda k: k.__name__)


def _make(kind: type, num_classes: int = 0) -> nn.Module:
    """In float64, with every parameter moved off its start, where whole branches can be zero."""
    torch.manual_seed(0)
    net = NETWORKS[kind](num_classes).double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


def _inputs(net: nn.Module, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Transition]:
    x = torch.randn(4, *net.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x.to(dtype), CosineSchedule(6).transition(torch.tensor([1, 2, 5, 6]), dtype)


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype(kind: type, dtype: torch.dtype) -> None:
    net = _make(kind).to(dtype)
    x, transition = _inputs(net, dtype)
    out = net(x, transition)
    assert out.shape == ((4,) if kind in ENERGIES else x.shape)
    assert out.dtype == dtype and torch.isfinite(out).all()
    # float32 agrees with float64, so that nothing inside fell to a lower precision
    precise = _make(kind)
    torch.testing.assert_close(out.double(), precise(*_inputs(precise)), rtol=1e-4, atol=1e-4)


@everyone
def test_samples_are_independent(kind: type) -> None:
    net = _make(kind)
    x, transition = _inputs(net)
    whole = net(x, transition)
    for i in (0, 3):
        alone = net(x[i : i + 1], transition.map(lambda v, i=i: v[i : i + 1]))
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=1e-12, atol=1e-12)
    (grad,) = torch.autograd.grad(net(x.requires_grad_(), transition)[1].sum(), x)
    assert (grad[1] != 0).any() and (grad[[0, 2, 3]] == 0).all()


@everyone
def test_same_input_same_output_and_no_hidden_state(kind: type) -> None:
    net = _make(kind)
    if kind in ENERGIES:
        net.train()  # an energy has no mode: neither dropout nor iterations inside a forward
    before = {k: v.clone() for k, v in net.state_dict().items()}
    generator = torch.get_rng_state()
    x, transition = _inputs(net)
    first = net(x, transition)
    assert torch.equal(net(x, transition), first)
    assert torch.equal(torch.get_rng_state(), generator)
    for k, v in net.state_dict().items():
        assert torch.equal(v, before[k]), k


@everyone
def test_every_parameter_learns(kind: type) -> None:
    net = _make(kind, 0 if kind in UNLABELLED else 3)
    x, transition = _inputs(net)
    label = torch.tensor([-1, 0, 1, 2])
    if isinstance(net, NormalizedEnergy):  # c is a part of the potential alone
        out = net.potential(x, transition.logsnr_s, label)
    else:
        out = net(x, transition) if kind in UNLABELLED else net(x, transition, label)
    parameters = dict(net.named_parameters())
    if parameters:
        out.square().sum().backward()
    for name, p in parameters.items():
        assert p.grad is not None and (p.grad != 0).any(), name


@everyone
def test_state_round_trip(kind: type) -> None:
    net = _make(kind)
    other = NETWORKS[kind](0).double().eval()
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    x, transition = _inputs(net)
    assert torch.equal(other(x, transition), net(x, transition))


@everyone
def test_labels(kind: type) -> None:
    unlabelled = _make(kind)
    x, transition = _inputs(unlabelled)
    none, some = torch.full((4,), -1), torch.tensor([0, -1, 1, 2])
    assert torch.equal(unlabelled(x, transition, none), unlabelled(x, transition))
    if kind in INDIFFERENT:
        assert torch.equal(unlabelled(x, transition, some), unlabelled(x, transition))
        return
    with pytest.raises(ConfigurationError, match="num_classes=0"):
        unlabelled(x, transition, some)
    if kind in UNLABELLED:
        return
    net = _make(kind, 3)
    plain, labelled = net(x, transition), net(x, transition, some)
    torch.testing.assert_close(net(x, transition, none), plain, rtol=1e-12, atol=1e-12)
    changed = (plain - labelled).flatten(1).abs().amax(1) if labelled.ndim > 1 else (plain - labelled).abs()
    assert (changed[[0, 2, 3]] > 1e-6).all() and changed[1] < 1e-12
    swapped = net(x, transition, torch.tensor([1, -1, 0, 0]))
    assert not torch.allclose(swapped[0], labelled[0]) and not torch.allclose(swapped[2], labelled[2])


@everyone
def test_level_matters(kind: type) -> None:
    if kind in INDIFFERENT:
        pytest.skip("a copy is a copy at each level")
    net = _make(kind)
    x, transition = _inputs(net)
    assert not torch.allclose(net(x, transition.map(lambda v: v.flip(0))), net(x, transition))


@everyone
def test_clean_level_of_infinite_logsnr_is_finite(kind: type) -> None:
    """λ_0 = ∞ where level 0 has no noise (spec §9)."""
    net = _make(kind)
    x, transition = _inputs(net)
    infinite = torch.full_like(transition.logsnr_s, torch.inf)
    assert torch.isfinite(net(x, replace(transition, logsnr_s=infinite, logsnr_t=infinite))).all()


@every_energy
def test_chain_energy_is_the_energy(kind: type) -> None:
    """at() and forward agree, and so do their gradients in y."""
    num_classes = 0 if kind in UNLABELLED else 3
    net = _make(kind, num_classes)
    y, transition = _inputs(net)
    label = torch.tensor([-1, 0, 1, 2]) if num_classes else None
    y.requires_grad_()
    here, there = net(y, transition, label), net.at(transition, label)(y)
    torch.testing.assert_close(there, here, rtol=1e-12, atol=1e-12)
    (grad_here,) = torch.autograd.grad(here.sum(), y)
    (grad_there,) = torch.autograd.grad(there.sum(), y)
    torch.testing.assert_close(grad_there, grad_here, rtol=1e-12, atol=1e-12)


@every_energy
def test_gradient_in_y_is_right(kind: type) -> None:
    net = _make(kind)
    y, transition = _inputs(net)
    y, one = y[:1], transition.map(lambda v: v[:1])
    assert torch.autograd.gradcheck(lambda v: net(v, one), (y.requires_grad_(),), eps=1e-7, atol=1e-4)


@everyone
def test_each_network_reads_its_own_end_of_the_level_pair(kind: type) -> None:
    """Energies live at s, initializers at t: what is said of the other end is never looked at."""
    net = _make(kind)
    x, transition = _inputs(net)
    other = "t" if kind in ENERGIES else "s"
    unread = [f"{name}_{other}" for name in ("alpha", "sigma", "logsnr")] + ["loss_weight", "step_size"]
    nonsense = replace(transition, **{name: torch.full((4,), torch.nan).double() for name in unread})
    assert torch.equal(net(x, nonsense), net(x, transition))


@everyone
def test_meta_device(kind: type) -> None:
    if kind in UNLABELLED:
        pytest.skip("an oracle has numbers, not parameters")
    with torch.device("meta"):
        net = NETWORKS[kind](0)
    assert all(p.is_meta for p in net.parameters())


@pytest.mark.parametrize(
    "make",
    [
        lambda: CooperativeResNet(IMAGE, zero_head=True, **SMALL_NET),
        lambda: MLPEnergy((3,), width=16, zero_head=True),
    ],
)
def test_zero_head_starts_flat_and_learns(make: Callable[[], Energy]) -> None:
    torch.manual_seed(0)
    energy = make()
    y, transition = _inputs(energy, torch.float32)
    start = energy(y, transition)
    assert (start == 0).all()
    start.sum().backward()
    with torch.no_grad():
        for p in energy.parameters():
            assert p.grad is not None
            p -= 0.1 * p.grad
    assert (energy(y, transition) < 0).all()
