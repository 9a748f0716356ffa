"""What the tests of contracts share: six rows, their noise, levels and labels, small networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modules.core.noise import Noise
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.initializers.mlp import MLPInitializer


def each(table: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", table, ids=lambda k: k.__name__)


ROWS = torch.arange(6)
LEVELS = torch.tensor([1, 2, 3, 4, 5, 6])
LABEL = torch.tensor([0, -1, 2, 1, 0, 2])


def noise(rows: Tensor = ROWS, step: int = 0) -> Noise:
    return Noise(3, rows, step, "contract", torch.float64)


def points(purpose: str = "points", dim: int = 3) -> Tensor:
    return noise().normal(purpose, (dim,))


def small_networks() -> tuple[MLPEnergy, MLPInitializer]:
    """Conditional, float64, every parameter moved off its start."""
    torch.manual_seed(0)
    pair = MLPEnergy((3,), 3, width=16, depth=1), MLPInitializer((3,), 3, width=16, depth=1)
    for network in pair:
        network.double()
        for p in network.parameters():
            nn.init.normal_(p, std=0.3)
    return pair


def normalized(energy: Energy) -> NormalizedEnergy:
    """Its potential, in float64, with a start drawn from a generator of its own."""
    with torch.random.fork_rng():
        return NormalizedEnergy(energy).double()
