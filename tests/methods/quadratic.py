"""One energy whose slopes are all known, a batch and its noise: what tests of its training step share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules.core.noise import Noise
from modules.core.types import Batch, LossOutput, Transition
from modules.energies.base import Energy
from modules.energies.normalized import NormalizedEnergy
from modules.initializers.own import OwnProposal
from modules.losses.contrast import RecoveryContrast
from modules.losses.levels import UniformLevels
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.one_energy import OneEnergy
from modules.samplers.langevin import Langevin
from modules.schedules.continuous import ContinuousSchedule

torch.set_num_threads(1)

COUNT = 6


LABEL = torch.tensor([0, 1, 2, 0, 1, 2])


def noise_of(rows: Tensor | None = None, step: int = 0) -> Noise:
    return Noise(3, torch.arange(COUNT) if rows is None else rows, step, "train", torch.float64)


def batch_of(shape: tuple[int, ...] = (2,), label: Tensor = LABEL) -> Batch:
    x = torch.rand(COUNT, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(2 * x - 1, label)


class Quadratic(Energy):
    """E = a||x||²/2 + b<1, x>·λ, with label k's b times (k + 2): all slopes known."""

    def __init__(self, num_classes: int = 0) -> None:
        super().__init__((2,), num_classes)
        self.a = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        factor = 1 if label is None else (label + 2)
        return self.a * y.square().sum(1) / 2 + self.b * factor * y.sum(1) * transition.logsnr_s


def method_of(energy: Energy | None = None, **parts) -> OneEnergy:
    energy = energy or NormalizedEnergy(Quadratic()).double()
    settings = {
        "score": ScoreMatching(),
        "level_score": LevelScore(weight=0.4, data_var=0.3),
        "recovery": RecoveryContrast(weight=3.0, first_step=1),
        "levels": UniformLevels(),
    }
    return OneEnergy(
        energy,
        OwnProposal(energy.shape, energy.num_classes),
        ContinuousSchedule(),
        Langevin(2, step_factor=0.5),
        **{**settings, **parts},
    )


def step_of(method: OneEnergy, step: int, batch: Batch | None = None) -> LossOutput:
    method.begin_step(step)
    return method(batch or batch_of(method.energy.shape), noise_of(step=step))


def known(noise: Noise) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, ε, x_λ, λ, ᾱ, σ̄² of a step at its recorded noise."""
    x, eps = batch_of().image, noise.normal("eps", (2,))
    logsnr = -5.1 + (9.8 + 5.1) * noise.uniform("level")
    alpha_bar, noise_var = torch.sigmoid(logsnr), torch.sigmoid(-logsnr)
    return (
        x,
        eps,
        alpha_bar.sqrt()[:, None] * x + noise_var.sqrt()[:, None] * eps,
        logsnr,
        alpha_bar,
        noise_var,
    )
