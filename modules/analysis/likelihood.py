"""-log p of images by an energy, in three ways that share nothing but the network (spec §11, §13).

All are of x_0 = √ᾱ x + σ̄ ε, ε drawn, at the cleanest level: -E_ε log p(x_0). That less D log √ᾱ bounds
-log p(x) from above, by a decoder N(x_0/√ᾱ, σ̄²/ᾱ I).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer
from modules.core.tensors import sum_per_sample
from modules.core.types import NoiseSource
from modules.energies.base import Energy
from modules.energies.marginal import MarginalPotential
from modules.energies.normalized import NormalizedEnergy
from modules.energies.recovery import energy_and_grad
from modules.schedules.base import Schedule
from modules.schedules.forward import marginal
from modules.schedules.levels import level
from modules.schedules.score import ScoreSchedule


def logsnr_cleanest(schedule: Schedule) -> float:
    """λ_0 of a ladder.

    Raises:
        ConfigurationError: level 0 has no noise, so that nothing is modelled there.
    """
    c = schedule.transition(torch.ones(1, dtype=torch.int64), torch.float64)
    if not math.isfinite(float(c.logsnr_s)):
        raise ConfigurationError(
            f"level 0 of a {type(schedule).__name__} is clean, and its energy has no density there"
        )
    return float(c.logsnr_s)


def cleanest(x: Tensor, logsnr: float, noise: NoiseSource, draw: int = 0) -> Tensor:
    """x_0 of images x (b, *shape): a draw of N(√ᾱ x, σ̄² I)."""
    at = x.new_full((len(x),), logsnr)
    eps = noise.normal("eps", tuple(x.shape[1:]), draw)
    return marginal(x, torch.sigmoid(at).sqrt(), torch.sigmoid(-at).sqrt(), eps)


@torch.no_grad()
def unnormalized(energy: Energy, schedule: Schedule, x: Tensor, noise: NoiseSource, draws: int = 1) -> Tensor:
    """-F_0 (b,) float64, the mean over draws of x_0: -log p is it plus log Z (spec §11)."""
    check_integer("draws", draws, low=1)
    ones = torch.ones(len(x), dtype=torch.int64, device=x.device)
    transition = schedule.transition(ones, x.dtype)
    potential = MarginalPotential(energy.at(transition, _no_label(energy, ones)), transition)
    logsnr = logsnr_cleanest(schedule)
    return torch.stack([potential(cleanest(x, logsnr, noise, k)).double() for k in range(draws)]).mean(0)


@torch.no_grad()
def by_evaluation(
    energy: NormalizedEnergy,
    logsnr: float,
    x: Tensor,
    noise: NoiseSource,
    label: Tensor | None = None,
    draws: int = 1,
) -> Tensor:
    """-log p (b,) float64 of images x (b, *shape) as U says it: one evaluation a draw of x_0."""
    check_integer("draws", draws, low=1)
    at = x.new_full((len(x),), logsnr)
    values = [energy.potential(cleanest(x, logsnr, noise, k), at, label).double() for k in range(draws)]
    return torch.stack(values).mean(0)


@dataclass(frozen=True)
class Normalization:
    """What U(x, λ) has beside E/σ̄, in nats: ℓ, c and -C, whose sum stands for log Z."""

    partition: float
    learned: float
    constant: float

    @property
    def log_z(self) -> float:
        """log Z of E/σ̄, as the energy has it."""
        return self.partition + self.learned + self.constant


@torch.no_grad()
def normalization(energy: NormalizedEnergy, logsnr: float) -> Normalization:
    """Of samples without a label."""
    like = energy.constant
    at = torch.full((1,), logsnr, device=like.device, dtype=like.dtype)
    x = torch.zeros(1, *energy.shape, device=like.device, dtype=like.dtype)
    above = float(energy.potential(x, at) - energy(x, level(at)) / torch.sigmoid(-at).sqrt())
    partition, constant = float(energy.energy.log_partition(at)[0]), float(-energy.constant[0])
    return Normalization(partition, above - partition - constant, constant)


@torch.no_grad()
def by_denoising(
    energy: Energy, schedule: ScoreSchedule, x: Tensor, noise: NoiseSource, num_levels: int = 64
) -> Tensor:
    """-log p (b,) float64 by the errors of the energy's own denoising, without its constants (spec §13).

    -log p = D/2 log 2πe - ½ ∫ (D sigmoid(λ) - E||∇E - ε||²) dλ up to λ_0, one ε in each of num_levels equal
    parts of [λ_min, λ_0], at a place of it that is drawn for each image. Below λ_min, where the error falls
    as e^λ, the integral is D log(1 + e^λ_min) less the error at λ_min.
    """
    check_integer("levels", num_levels, low=1)
    size, low, high = x[0].numel(), schedule.logsnr_min, logsnr_cleanest(schedule)
    none = _no_label(energy, torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def error(logsnr: Tensor, draw: int) -> Tensor:
        eps = noise.normal("denoised", tuple(x.shape[1:]), draw)
        noisy = marginal(x, torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr).sqrt(), eps)
        guess = energy_and_grad(energy.at(level(logsnr), none), noisy)[1]
        return sum_per_sample((guess - eps).double() ** 2)

    part = (high - low) / num_levels
    total = size * F.softplus(torch.tensor(low, dtype=torch.float64)) - error(x.new_full((len(x),), low), 0)
    for k in range(num_levels):
        logsnr = low + part * (k + noise.uniform("place", draw=k)).to(x.dtype)
        total = total + part * (size * torch.sigmoid(logsnr).double() - error(logsnr, k + 1))
    return 0.5 * size * math.log(2 * math.pi * math.e) - 0.5 * total


def bits_per_dim(nats: Tensor, size: int, logsnr: float, grey_values: int) -> Tensor:
    """-log p (n,) of x_0 in nats as bits of a whole grey value: nats/(D ln 2) - log2 √ᾱ + log2((n - 1)/2).

    Grey values are 2/(n-1) apart in [-1, 1], and dequantized evenly over that step (spec §11).
    """
    return nats / (size * math.log(2)) + scale_term(logsnr) + grey_term(grey_values)


def scale_term(logsnr: float) -> float:
    """-log2 √ᾱ."""
    return 0.5 * math.log1p(math.exp(-logsnr)) / math.log(2)


def grey_term(grey_values: int) -> float:
    """log2((n - 1)/2): minus the log of a grey step."""
    return math.log2((grey_values - 1) / 2)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of (n,) numbers and its standard error; of one number the error isn't a number."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def _no_label(energy: Energy, like: Tensor) -> Tensor | None:
    """Labels -1 for an energy that knows labels."""
    return torch.full_like(like, -1) if energy.num_classes else None
