"""A score by the density that a normalized energy knows (spec §12, §13)."""

from __future__ import annotations

import math

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.core.tensors import expand_as
from modules.energies.base import Energy
from modules.energies.normalized import NormalizedEnergy
from modules.initializers.base import Initializer
from modules.schedules.base import Schedule
from modules.scores.base import Score, same_noise


@gin.register
class LikelihoodScore(Score):
    """mean_k U(√ᾱ x + σ̄ ε_k, λ), U = -log p_λ in nats, with the same few noises for all (spec §12, §13).

    Args:
        sigma: σ̄ of the level, any in (0, 1); None: the cleanest level of the run's ladder.
        num_noises: how many ε.
    """

    def __init__(self, sigma: float | None = 0.1, num_noises: int = 8) -> None:
        if sigma is not None:
            check_number("LikelihoodScore.sigma", sigma, above=0, high=0.9999)
        check_integer("LikelihoodScore.num_noises", num_noises, low=1)
        self.sigma, self.num_noises = sigma, num_noises

    def check(self, energy: Energy, initializer: Initializer, schedule: Schedule) -> None:
        if not isinstance(energy, NormalizedEnergy):
            raise ConfigurationError(
                "LikelihoodScore needs an energy that knows its constant: a run of a NormalizedEnergy; "
                "EnergyScore takes any"
            )

    @torch.no_grad()
    def __call__(
        self, energy: Energy, initializer: Initializer, schedule: Schedule, x: Tensor, seed: int = 0
    ) -> Tensor:
        self.check(energy, initializer, schedule)
        assert isinstance(energy, NormalizedEnergy)
        first = schedule.transition(torch.ones(1, dtype=torch.int64, device=x.device), x.dtype)
        sigma = float(first.sigma_s) if self.sigma is None else self.sigma
        logsnr = torch.full((len(x),), math.log(1 / sigma**2 - 1), device=x.device, dtype=x.dtype)
        alpha = torch.sigmoid(logsnr).sqrt()
        total = torch.zeros_like(logsnr)
        for k in range(self.num_noises):
            noisy = expand_as(alpha, x) * x + sigma * same_noise(seed, k, x)
            total = total + energy.potential(noisy, logsnr) / self.num_noises
        return total
