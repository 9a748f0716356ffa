"""The passes that are learnt from, compiled: the eager numbers (float64, to 1e-11)."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Batch
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.resnet import CooperativeResNet
from modules.energies.unet import UNetEnergy
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import OwnProposal
from modules.initializers.unet import UNet
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)

needs_a_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)


def _awake(network):
    """In float64, its zero-initialized weights moved."""
    network.double().train()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return network


def _steps(energy, initializer, compile: bool):
    """Losses and gradients of two steps, weights moved between them."""
    method = RecoveryLikelihood(
        energy, initializer, CosineSchedule(), Langevin(2), shared_noise=True, compile=compile
    )
    found = []
    for step in range(2):
        method.begin_step(step)
        x = torch.rand(6, *energy.shape, generator=torch.Generator().manual_seed(step)).double() * 2 - 1
        labels = torch.tensor([0, 1, 2, 0, -1, 2])
        output = method(Batch(x, labels), Noise(0, torch.arange(6), step, dtype=torch.float64))
        sum(output.losses.values()).backward()
        found.append(output.losses | {n: p.grad for n, p in method.named_parameters()})
        with torch.no_grad():
            for p in method.parameters():
                p -= 0.01 * p.grad.sign()
                p.grad = None
    return found


@pytest.mark.slow
@needs_a_compiler
@pytest.mark.parametrize(
    "make",
    [
        lambda: (MLPEnergy((2,), 3, width=16, depth=1), MLPInitializer((2,), 3, width=16, depth=1)),
        lambda: (
            MLPEnergy((2, 8, 8), 3, width=16, depth=1),
            UNet((2, 8, 8), 3, dim=8, dim_mults=(1, 1), num_blocks=1, groups=4, dropout=0.0),
        ),
    ],
    ids=["MLPs", "U-Net"],
)
def test_a_compiled_step_is_the_eager_one(make) -> None:
    """Losses and every gradient, and again after the weights have moved."""
    torch.manual_seed(0)
    energy, initializer = map(_awake, make())
    wanted = _steps(copy.deepcopy(energy), copy.deepcopy(initializer), compile=False)
    got = _steps(energy, initializer, compile=True)
    for eager, compiled in zip(wanted, got, strict=True):
        assert set(eager) == set(compiled)
        for name, value in eager.items():
            largest = max(1.0, float(value.detach().abs().max()))
            torch.testing.assert_close(compiled[name], value, rtol=1e-11, atol=1e-12 * largest)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLPEnergy((3,), 3, width=16, depth=1, spectral_norm=True),
        lambda: CooperativeResNet((1, 8, 8), 3, channels=8, channel_mult=(1, 2), num_blocks=1),
    ],
    ids=["MLP", "CDRL"],
)
def test_an_energys_pass_is_one_graph(make) -> None:
    """As on a GPU, where it is compiled: no break, and the eager energies and gradients."""
    torch.manual_seed(0)
    energy = _awake(make())
    transition = CosineSchedule().transition(torch.tensor([6, 1, 2, 1]), torch.float64)
    y, label = torch.randn(4, *energy.shape, dtype=torch.float64), torch.tensor([0, -1, 2, 2])
    # without code for a processor, which takes a minute
    compiled = torch.compile(energy.forward, dynamic=False, fullgraph=True, backend="aot_eager")
    parameters = list(energy.parameters())
    results = [run(y, transition, label) for run in (energy, compiled)]
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)
    grads = [torch.autograd.grad(result.square().sum(), parameters) for result in results]
    for eager, ours in zip(*grads, strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-11, atol=1e-12 * max(1.0, float(eager.abs().max())))


@needs_a_compiler
@pytest.mark.parametrize("compile", [True, False])
def test_the_switch_is_used(monkeypatch, compile: bool) -> None:
    """By the initializer's pass; the energy's is a GPU's."""
    ran = []

    def watched(run, **_):
        def call(*args):
            ran.append(run.__qualname__)
            return run(*args)

        return call

    monkeypatch.setattr(torch, "compile", watched)
    _steps(
        _awake(MLPEnergy((2,), 3, width=8, depth=1)),
        _awake(MLPInitializer((2,), 3, width=8, depth=1)),
        compile,
    )
    assert ran == ["ResidualInitializer.mean"] * 2 * compile


def _one_energy(energy, **settings) -> OneEnergy:
    parts = ContinuousSchedule(), Langevin(1), ScoreMatching(), LevelScore()
    return OneEnergy(energy, OwnProposal(energy.shape, energy.num_classes), *parts, **settings)


def _unet_energy(**settings) -> NormalizedEnergy:
    sizes = {"dim": 8, "dim_mults": (1, 1), "num_blocks": 1, "attention_resolutions": (), "groups": 4}
    return NormalizedEnergy(UNetEnergy((1, 8, 8), 3, **sizes, **settings))


@needs_a_compiler
@pytest.mark.parametrize(
    "traced", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["called", "traced"]
)
def test_one_energys_compiled_step_is_the_eager_one(monkeypatch, traced: bool) -> None:
    """The loss and its gradients; traced in one graph, without code for a processor, which takes minutes."""
    torch.manual_seed(0)
    energy, graph, ran = _awake(_unet_energy()), torch.compile, []

    def compiled(run, **settings):
        def call(*args):
            ran.append((run.__func__, settings))
            return within(*args)

        within = graph(run, backend="aot_eager", fullgraph=True, **settings) if traced else run
        return call

    monkeypatch.setattr(torch, "compile", compiled)
    x, label = torch.rand(4, 1, 8, 8, dtype=torch.float64) * 2 - 1, torch.tensor([0, 1, -1, 2])
    found = []
    for switch in (False, True):
        method = _one_energy(energy, compile=switch)
        assert arguments_of(method, "")["compile"] is switch
        method.begin_step(0)
        loss = method(Batch(x, label), Noise(0, torch.arange(4), dtype=torch.float64)).losses["energy"]
        found.append((loss, *torch.autograd.grad(loss, list(energy.parameters()))))
    assert ran == [(NormalizedEnergy.slopes, {"dynamic": False})]
    for eager, ours in zip(*found, strict=True):
        largest = max(1.0, float(eager.detach().abs().max()))
        torch.testing.assert_close(ours, eager, rtol=1e-11, atol=1e-12 * largest)


@needs_a_compiler
def test_slopes_that_autograd_finds_cant_be_compiled() -> None:
    """A graph of a gradient is learnt through once more, which torch.compile can't."""
    for energy in (MLPEnergy((2,)), NormalizedEnergy(MLPEnergy((2,)))):
        with pytest.raises(ConfigurationError, match=r"OneEnergy\.compile needs an energy that writes"):
            _one_energy(NormalizedEnergy(energy), compile=True)
    with pytest.raises(ConfigurationError, match=r"OneEnergy\.compile must be True or False"):
        _one_energy(_unet_energy(), compile=1)


def test_a_switch_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"RecoveryLikelihood\.compile must be True or False"):
        RecoveryLikelihood(
            MLPEnergy((2,)),
            MLPInitializer((2,)),
            CosineSchedule(),
            Langevin(1),
            shared_noise=True,
            compile="default",
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's graphs need no C++ compiler")
def test_without_a_compiler_it_is_refused_before_any_compute(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    networks = MLPEnergy((2,)), MLPInitializer((2,))
    for name, make in {
        "RecoveryLikelihood": lambda: RecoveryLikelihood(
            *networks, CosineSchedule(), Langevin(1), shared_noise=True, compile=True
        ),
        "OneEnergy": lambda: _one_energy(_unet_energy(), compile=True),
        "Langevin": lambda: Langevin(1, compile="default"),
    }.items():
        with pytest.raises(
            ConfigurationError, match=rf"^{name}\.compile needs a C\+\+ compiler on a CPU"
        ) as fault:
            make()
        assert "'no-such-compiler'" in str(fault.value) and "\n" not in str(fault.value)
