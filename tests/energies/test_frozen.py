"""The fast chain: snapshots and gradients without a graph equal the plain path (float64 to 1e-12)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from modules.core.noise import Noise
from modules.core.types import Batch, SelfDifferentiating, Transition
from modules.energies.base import Energy
from modules.energies.drl_resnet import RecoveryResNet
from modules.energies.frozen import FreezableEnergy
from modules.energies.mlp import MLPEnergy
from modules.energies.recovery import energy_and_grad
from modules.energies.resnet import CooperativeResNet
from modules.initializers.mlp import MLPInitializer
from modules.initializers.unet import UNet
from modules.layers import stages
from modules.layers.embeddings import LevelEmbedding
from modules.layers.residual import _FrozenResidual
from modules.layers.stages import Stage
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)

IMAGE, SMALL = (2, 8, 8), {"channels": 8, "channel_mult": (1, 2), "num_blocks": 1}
ENERGIES: dict[str, Callable[[], FreezableEnergy]] = {
    "CDRL": lambda: CooperativeResNet(IMAGE, 3, **SMALL),
    "CDRL, smooth, without spectral norm": lambda: CooperativeResNet(
        IMAGE, 3, activation="gelu", spectral_norm=False, **SMALL
    ),
    "CDRL, grey": lambda: CooperativeResNet((1, 8, 8), 3, **SMALL),
    "DRL": lambda: RecoveryResNet(IMAGE, 3, **SMALL),
    "DRL, every switch": lambda: RecoveryResNet(
        IMAGE,
        3,
        activation="silu",
        final_activation="tanh",
        norm="instance",
        downsample="conv",
        attention_resolutions=(4,),
        shortcut_size=1,
        **SMALL,
    ),
    "MLP": lambda: MLPEnergy((2,), 3, width=16, depth=2, num_frequencies=3),
    "MLP of images": lambda: MLPEnergy(IMAGE, 3, width=16, depth=2, activation="softplus"),
}
every_energy = pytest.mark.parametrize("name", ENERGIES)


def _make(name: str, dtype: torch.dtype = torch.float64) -> FreezableEnergy:
    """With every parameter moved off its start."""
    torch.manual_seed(0)
    energy = ENERGIES[name]().to(dtype)
    with torch.no_grad():
        for p in energy.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return energy


def _inputs(energy: Energy, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Transition, Tensor]:
    """Six samples of four levels and three labels; two share both."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randn(6, *energy.shape, generator=generator, dtype=torch.float64).to(dtype)
    return (
        y,
        CosineSchedule(6).transition(torch.tensor([6, 1, 2, 5, 1, 1]), dtype),
        torch.tensor([0, 2, -1, 1, 2, 0]),
    )


def _plain(
    energy: FreezableEnergy, y: Tensor, transition: Transition, label: Tensor
) -> tuple[Tensor, Tensor]:
    """E and its gradient by autograd, sample after sample, so that nothing is shared between rows."""
    values, grads = [], []
    for i in range(len(y)):
        leaf = y[i : i + 1].clone().requires_grad_()
        value = energy(leaf, transition.map(lambda v, i=i: v[i : i + 1]), label[i : i + 1])
        grads.append(torch.autograd.grad(value.sum(), leaf)[0])
        values.append(value.detach())
    return torch.cat(values), torch.cat(grads)


@pytest.mark.parametrize("name", ["CDRL", "DRL"])
def test_means_of_a_level_are_part_of_its_last_convolution(name: str, monkeypatch) -> None:
    """The energy as its layers say, each by itself, against the one with fewer taps; many pixels and few."""
    energy = _make(name).to(memory_format=torch.channels_last)
    y, transition, label = _inputs(energy)
    monkeypatch.setattr(stages, "PIXELS", 6 * 8 * 8)  # the first level's kernels are turned ahead
    fast = energy.at(transition, label)
    monkeypatch.setattr(Stage, "halved", lambda stage: None)
    monkeypatch.setattr(_FrozenResidual, "halved", lambda stage: None)
    plain = energy.at(transition, label)
    assert len(fast.stages) == len(plain.stages) - 1
    for got, wanted in zip(fast.value_and_grad(y), plain.value_and_grad(y), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@every_energy
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_gradient_written_out_is_autograds(name: str, channels_last: bool) -> None:
    energy = _make(name)
    y, transition, label = _inputs(energy)
    value, grad = _plain(energy, y, transition, label)
    if channels_last:
        energy = energy.to(memory_format=torch.channels_last)
    bound = energy.at(transition, label)
    assert isinstance(bound, SelfDifferentiating)
    given = y.clone()
    fast_value, fast_grad = bound.value_and_grad(given)
    assert torch.equal(given, y) and not fast_grad.requires_grad
    torch.testing.assert_close(fast_value, value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fast_grad, grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(bound(y), value, rtol=1e-12, atol=1e-12)


@every_energy
def test_samples_that_share_level_and_label(name: str) -> None:
    """As in sampling: what the level adds to every sample may then be part of a bias."""
    energy = _make(name)
    y, transition, label = _inputs(energy)
    transition, label = transition.map(lambda v: v[:1].expand(len(y))), label[:1].expand(len(y))
    value, grad = _plain(energy, y, transition, label)
    fast_value, fast_grad = energy_and_grad(energy.at(transition, label), y)
    torch.testing.assert_close(fast_value, value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fast_grad, grad, rtol=1e-12, atol=1e-12)


@every_energy
def test_float32_evaluations(name: str) -> None:
    """Single evaluations to 1e-5 of the gradient's norm; smooth energies, where no ReLU can flip."""
    energy = _make(name)
    y, transition, label = _inputs(energy)
    value, grad = _plain(energy, y, transition, label)
    single = copy.deepcopy(energy).float()
    inputs = _inputs(single, torch.float32)
    fast_value, fast_grad = single.at(*inputs[1:]).value_and_grad(inputs[0])
    assert float((fast_value - value).norm() / value.norm()) < 1e-5
    assert float((fast_grad - grad).norm() / grad.norm()) < 1e-5


class _Unfrozen(Energy):
    """A user's energy that has forward alone."""

    def __init__(self, energy: FreezableEnergy) -> None:
        super().__init__(energy.shape, energy.num_classes)
        self.inner = energy

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        return self.inner(y, transition, label)


def _step(energy: Energy, initializer, save_memory: bool = False):
    method = RecoveryLikelihood(
        energy, initializer, CosineSchedule(), Langevin(5), shared_noise=True, save_memory=save_memory
    )
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(6, *energy.shape, generator=generator, dtype=torch.float64) * 2 - 1
    method.begin_step(0)
    torch.manual_seed(3)  # dropout's
    output = method(
        Batch(x, torch.tensor([0, 1, 2, 0, 1, 2])), Noise(0, torch.arange(6), dtype=torch.float64)
    )
    sum(output.losses.values()).backward()
    return output, {n: p.grad for n, p in method.named_parameters() if p.grad is not None}


def _networks(name: str) -> tuple[FreezableEnergy, torch.nn.Module]:
    energy = _make(name)
    torch.manual_seed(4)
    if len(energy.shape) == 1:
        initializer = MLPInitializer(energy.shape, 3, width=16, depth=1)
    else:
        initializer = UNet(energy.shape, 3, dim=8, dim_mults=(1,), num_blocks=1, groups=4, dropout=0.5)
    initializer.double().train()
    with torch.no_grad():
        for p in initializer.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return energy, initializer


@every_energy
def test_a_training_step_is_the_plain_one(name: str) -> None:
    """Losses, and gradients of every parameter after a chain of 5 steps."""
    energy, initializer = _networks(name)
    plain, wanted = _step(_Unfrozen(copy.deepcopy(energy)), copy.deepcopy(initializer))
    fast, got = _step(energy.to(memory_format=torch.channels_last), initializer)
    for key, value in plain.losses.items():
        torch.testing.assert_close(fast.losses[key], value, rtol=1e-12, atol=1e-12)
    assert {n.replace(".inner", "") for n in wanted} == set(got)
    largest = max(float(grad.abs().max()) for grad in wanted.values())
    for key, grad in wanted.items():
        torch.testing.assert_close(got[key.replace(".inner", "")], grad, rtol=1e-12, atol=1e-12 * largest)


@pytest.mark.parametrize("name", ["CDRL", "MLP"])
def test_saving_memory_changes_no_number(name: str) -> None:
    """The U-Net's dropout, drawn again in the backward pass, included."""
    energy, initializer = _networks(name)
    wanted_output, wanted = _step(copy.deepcopy(energy), copy.deepcopy(initializer))
    output, got = _step(energy, initializer, save_memory=True)
    for key, value in wanted_output.losses.items():
        torch.testing.assert_close(output.losses[key], value, rtol=1e-12, atol=1e-12)
    for key, grad in wanted.items():
        torch.testing.assert_close(got[key], grad, rtol=1e-11, atol=1e-12)


def test_an_energy_with_forward_alone_goes_through_autograd() -> None:
    energy = _make("MLP")
    y, transition, label = _inputs(energy)
    bound = _Unfrozen(energy).at(transition, label)
    assert not isinstance(bound, SelfDifferentiating)
    for got, wanted in zip(energy_and_grad(bound, y), _plain(energy, y, transition, label), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_classes", [0, 5])
def test_embedding_distinct_pairs_is_embedding_each(num_classes: int) -> None:
    torch.manual_seed(0)
    embedding = LevelEmbedding(8, 12, num_classes, torch.tanh).double()
    position = torch.tensor([3.0, 1.0, 3.0, 3.0, 7.5]).double()
    label = torch.tensor([0, 0, 4, 0, -1]) if num_classes else None
    embedded = embedding.distinct(position, label)
    assert len(embedded.values) == (4 if num_classes else 3)
    torch.testing.assert_close(
        embedded.to_samples(embedded.values), embedding(position, label), rtol=1e-13, atol=1e-13
    )
