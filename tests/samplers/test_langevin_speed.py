"""The chain compiled, and the chain in bf16: the same steps, and how far the law moves."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.recovery import RecoveryPotential
from modules.energies.resnet import CooperativeResNet
from modules.samplers import langevin
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)

needs_a_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)


class _User(Energy):
    """An energy with forward alone, whose gradient is autograd's."""

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        return (y.sin() * y.flip(1)).sum(1)


@needs_a_compiler
@pytest.mark.parametrize(
    "make",
    [
        lambda: MLPEnergy((3,), width=16, depth=1),
        pytest.param(
            lambda: CooperativeResNet((1, 8, 8), channels=8, channel_mult=(1, 2), num_blocks=1),
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda: _User((3,)), marks=pytest.mark.slow),
    ],
    ids=["MLP", "CDRL", "user's"],
)
def test_a_compiled_chain_is_the_eager_one(make) -> None:
    """In float64 to 1e-12, and for a second snapshot too, without compiling again."""
    torch.manual_seed(0)
    energy = make().double()
    eager, compiled = Langevin(3), Langevin(3, compile="default")
    generator = torch.Generator().manual_seed(0)
    for step in range(2):
        transition = CosineSchedule().transition(torch.tensor([6, 1, 2, 4]).roll(step), torch.float64)
        x_t, y = torch.randn(2, 4, *energy.shape, generator=generator, dtype=torch.float64)
        noise = Noise(0, torch.arange(4), step, dtype=torch.float64)
        chains = [
            sampler.sample(
                RecoveryPotential(energy.at(transition), transition, x_t), y, transition.step_size, noise
            )
            for sampler in (eager, compiled)
        ]
        for got, wanted in zip(vars(chains[1]).values(), vars(chains[0]).values(), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            for p in energy.parameters():
                p.add_(0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLPEnergy((3,), width=16, depth=1),
        lambda: CooperativeResNet((1, 8, 8), channels=8, channel_mult=(1, 2), num_blocks=1),
    ],
    ids=["MLP", "CDRL"],
)
def test_a_step_is_one_graph(make) -> None:
    """Nothing in it stops the compiler: a break would cost more than compiling gains."""
    energy = make()
    transition = CosineSchedule().transition(torch.tensor([6, 1, 2, 4]))
    x_t, y, z = torch.randn(3, 4, *energy.shape)
    size = torch.full((4, *[1] * len(energy.shape)), 0.1)
    step = torch.compile(langevin._step, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        potential = RecoveryPotential(energy.at(transition), transition, x_t)
        got, wanted = (f(potential, y, size, size, z, None)[0] for f in (step, langevin._step))
    torch.testing.assert_close(got, wanted)


def test_a_chain_to_be_compiled_takes_the_same_steps() -> None:
    """All that a step is given reaches the graph, max_drift too; run without compiling it."""
    torch.manual_seed(0)
    energy = MLPEnergy((3,), width=16, depth=1).double()
    transition = CosineSchedule().transition(torch.tensor([6, 1, 2, 4]), torch.float64)
    x_t, y = torch.randn(2, 4, 3, dtype=torch.float64)
    potential = RecoveryPotential(energy.at(transition), transition, x_t)
    noise = Noise(0, torch.arange(4), dtype=torch.float64)
    free = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    ends = []
    for way in (None, "default"):
        sampler = Langevin(3, 0.9, 1.2, compile=way, max_drift=0.01, clamp=0.8)
        with torch.compiler.set_stance("force_eager"):
            ends.append(sampler.sample(potential, y, transition.step_size, noise, free))
    for got, wanted in zip(vars(ends[1]).values(), vars(ends[0]).values(), strict=True):
        assert torch.equal(got, wanted) if isinstance(wanted, torch.Tensor) else got == wanted


def test_an_unknown_way_to_compile_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"Langevin\.compile must be one of .*'reduce-overhead'"):
        Langevin(compile="fast")


class _Gaussian(Energy):
    """E = ||L(y - m)||²/2, its product in autocast's precision, as a network's layers are."""

    def __init__(self, root: Tensor, mean: float) -> None:
        super().__init__((len(root),))
        self.register_buffer("root", root)
        self.mean = mean

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        return 0.5 * F.linear(y - self.mean, self.root).float().square().sum(1)


def test_bias_of_bf16_on_a_gaussian() -> None:
    """Means move by less than 0.5% of a standard deviation, variances by less than 1%, of 20,000 chains.

    The same noise drives both precisions, so that most of the sampling error cancels in the difference.
    Measured: means 0.03%, variances 0.5%, at most; what bf16 rounds away of y is a part in 256.
    """
    count, size = 20_000, 8
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(0)) * 0.2 + torch.eye(size)
    transition = CosineSchedule().transition(torch.full((count,), 6))  # the top: no tether
    energy = _Gaussian(root, 0.5)
    start = torch.zeros(count, size)
    ends = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            potential = RecoveryPotential(
                energy.at(transition), transition.map(_unit_scale(transition)), start
            )
            chain = Langevin(100).sample(
                potential, start, torch.full((count,), 0.4), Noise(0, torch.arange(count))
            )
        ends.append(chain.y)
    single, half = ends
    assert not torch.equal(single, half)  # bf16 took part
    spread = single.std(0)
    assert ((half.mean(0) - single.mean(0)).abs() / spread).max() < 5e-3
    assert (half.var(0) / single.var(0) - 1).abs().max() < 1e-2
    exact = torch.linalg.inv(root.T @ root)  # up to the step's own bias
    assert (single.var(0) / exact.diagonal() - 1).abs().max() < 0.15


def _unit_scale(transition: Transition):
    """energy_scale 1, all else as it is."""
    return lambda field: torch.ones_like(field) if field is transition.energy_scale else field
