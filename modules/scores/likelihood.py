"""Scores by the density that a normalized energy knows (spec §12, §13)."""

from __future__ import annotations

import math

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.core.tensors import expand_as
from modules.energies.normalized import NormalizedEnergy
from modules.methods.networks import Networks
from modules.scores.base import Score, same_noise


class _NormalizedScore(Score):
    """What both scores share: U at a level, averaged over a few noises.

    Args:
        sigma: σ̄ of the level, any in (0, 1); None: the cleanest level of the run's ladder.
        num_noises: how many ε.
    """

    def __init__(self, sigma: float | None, num_noises: int) -> None:
        if sigma is not None:
            check_number(f"{type(self).__name__}.sigma", sigma, above=0, high=0.9999)
        check_integer(f"{type(self).__name__}.num_noises", num_noises, low=1)
        self.sigma, self.num_noises = sigma, num_noises

    def check(self, networks: Networks) -> None:
        if not isinstance(networks.energy, NormalizedEnergy):
            raise ConfigurationError(
                f"{type(self).__name__} needs an energy that knows its constant: a run of a "
                "NormalizedEnergy; EnergyScore takes any"
            )

    @torch.no_grad()
    def potential(self, networks: Networks, x: Tensor, seed: int) -> Tensor:
        """mean_k U(√ᾱ x + σ̄ ε_k, λ) (b,)."""
        self.check(networks)
        energy = networks.energy
        assert isinstance(energy, NormalizedEnergy)
        first = networks.schedule.transition(torch.ones(1, dtype=torch.int64, device=x.device), x.dtype)
        sigma = float(first.sigma_s) if self.sigma is None else self.sigma
        logsnr = torch.full((len(x),), math.log(1 / sigma**2 - 1), device=x.device, dtype=x.dtype)
        alpha = torch.sigmoid(logsnr).sqrt()
        total = torch.zeros_like(logsnr)
        for k in range(self.num_noises):
            noisy = expand_as(alpha, x) * x + sigma * same_noise(seed, k, x)
            total = total + energy.potential(noisy, logsnr) / self.num_noises
        return total


@gin.register
class LikelihoodScore(_NormalizedScore):
    """mean_k U(√ᾱ x + σ̄ ε_k, λ), U = -log p_λ in nats, with the same few noises for all (spec §12, §13)."""

    def __init__(self, sigma: float | None = 0.1, num_noises: int = 8) -> None:
        super().__init__(sigma, num_noises)

    def __call__(self, networks: Networks, x: Tensor, seed: int = 0) -> Tensor:
        return self.potential(networks, x, seed)


@gin.register
class TypicalityScore(_NormalizedScore):
    """|U - H|, U as LikelihoodScore's and H its mean over the run's own data (Nalisnick et al. 2019).

    What is far denser than data is as outlying as what is far thinner; constant images are an example.

    Args:
        entropy: H in nats; None: `fit` finds it.
    """

    def __init__(self, sigma: float | None = 0.1, num_noises: int = 8, entropy: float | None = None) -> None:
        super().__init__(sigma, num_noises)
        if entropy is not None:
            check_number("TypicalityScore.entropy", entropy)
        self.entropy = entropy

    def fit(self, networks: Networks, x: Tensor, seed: int = 0) -> None:
        """Set H where it isn't given."""
        if self.entropy is None:
            self.entropy = float(self.potential(networks, x, seed).double().mean())

    def __call__(self, networks: Networks, x: Tensor, seed: int = 0) -> Tensor:
        if self.entropy is None:
            raise ConfigurationError("TypicalityScore knows no entropy: fit it to data, or set its entropy")
        return (self.potential(networks, x, seed) - self.entropy).abs()
