"""The sizes at which speed is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.resnet import CooperativeResNet
from modules.initializers.base import Initializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.unet import UNet
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule


@dataclass(frozen=True)
class Case:
    """Networks, batch and chain of one size."""

    energy: Callable[[], Energy]
    initializer: Callable[[], Initializer]
    batch_size: int
    num_steps: int = 15  # K
    rounds: int = 7

    def method(self, save_memory: bool = False, compile: bool = False) -> RecoveryLikelihood:
        """CDRL with these networks, the same at every call."""
        torch.manual_seed(0)
        return RecoveryLikelihood(
            self.energy(),
            self.initializer(),
            CosineSchedule(),
            Langevin(self.num_steps),
            shared_noise=True,
            save_memory=save_memory,
            compile=compile,
        )


CASES = {
    # gin/cdrl_checkerboard.gin's, with spectral norm as in the published toy (spec §7)
    "points": Case(
        lambda: MLPEnergy((2,), width=128, depth=2, num_frequencies=3, spectral_norm=True),
        lambda: MLPInitializer((2,), width=128, depth=2),
        batch_size=256,
        num_steps=10,
    ),
    # gin/cdrl_digits.gin
    "digits": Case(
        lambda: MLPEnergy((1, 8, 8), width=512, depth=2),
        lambda: UNet(
            (1, 8, 8),
            dim=32,
            dim_mults=(1, 1),
            num_blocks=1,
            attention_resolutions=(4,),
            groups=8,
            dropout=0.0,
        ),
        batch_size=64,
        num_steps=10,
    ),
    "small16": Case(
        lambda: CooperativeResNet((3, 16, 16), channels=32, channel_mult=(1, 2, 2, 2), num_blocks=2),
        lambda: UNet((3, 16, 16), dim=32, num_blocks=1),
        batch_size=32,
    ),
    "small32": Case(
        lambda: CooperativeResNet((3, 32, 32), channels=32, num_blocks=2),
        lambda: UNet((3, 32, 32), dim=32, num_blocks=1),
        batch_size=32,
        rounds=5,
    ),
    # gin/cdrl_cifar10.gin, at a batch that a CPU can wait for
    "paper": Case(
        lambda: CooperativeResNet((3, 32, 32)),
        lambda: UNet((3, 32, 32)),
        batch_size=2,
        rounds=3,
    ),
}
