"""A batch of points and its noise, small networks and their method: what tests of the training step share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules.core.noise import Noise
from modules.core.types import Batch, LossOutput, Transition
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.losses.cooperative import WarmStart
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from tests.gaussian_oracle import data

torch.set_num_threads(1)


def noise_of(count: int, seed: int = 0, step: int = 0) -> Noise:
    return Noise(seed, torch.arange(count), step, "train", torch.float64)


def batch_of(count: int, seed: int = 0) -> Batch:
    return Batch(data(noise_of(count, seed)), torch.full((count,), -1))


class Linear(Energy):
    """E = <θ, y>."""

    def __init__(self, theta: list[float]) -> None:
        super().__init__((len(theta),))
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        return y @ self.theta


def networks_of(spectral: bool = False) -> tuple[MLPEnergy, MLPInitializer]:
    torch.manual_seed(0)
    pair = (
        MLPEnergy((2,), width=8, depth=1, spectral_norm=spectral),
        MLPInitializer((2,), width=8, depth=1),
    )
    for network in pair:
        network.double()
        for p in network.parameters():
            nn.init.normal_(p, std=0.5)
    return pair


def method_of(warm: WarmStart | None, spectral: bool = False) -> RecoveryLikelihood:
    energy, initializer = networks_of(spectral)
    return RecoveryLikelihood(
        energy, initializer, CosineSchedule(), Langevin(2), shared_noise=True, warm_start=warm
    )


def step_of(method: RecoveryLikelihood, step: int) -> LossOutput:
    method.begin_step(step)
    return method(batch_of(32), noise_of(32))
