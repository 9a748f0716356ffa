"""Scores by the energy: its value, its values at noisy levels, its slope (spec §12)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_instance, check_integer, check_number
from modules.core.tensors import expand_as, norm_per_sample
from modules.energies.recovery import energy_and_grad
from modules.methods.networks import Networks
from modules.schedules.forward import marginal
from modules.scores.base import Score, check_levels, same_noise, transition_above


@gin.register
class EnergyScore(Score):
    """E(√α_1·√ᾱ_0·x, λ_0) = -f: the energy of the clean image at the cleanest level (spec §12)."""

    def __call__(self, networks: Networks, x: Tensor, seed: int = 0) -> Tensor:
        first = transition_above(networks.schedule, 0, x)
        with torch.no_grad():
            return networks.energy.at(first)(expand_as(first.y_scale * first.alpha_s, x) * x)


@gin.register
class NoisyEnergyScore(Score):
    """Σ_s w_s mean_k E(y_scale·x_s)/s², x_s = √ᾱ_s x + σ̄_s ε_k with the same few noises for all (spec §12).

    Args:
        levels: s, each in 0..T-1.
        weights: w_s, one a level; None: all 1.
        num_noises: how many ε a level.
    """

    def __init__(
        self, levels: tuple[int, ...] = (1,), weights: tuple[float, ...] | None = None, num_noises: int = 8
    ) -> None:
        self.levels = level_tuple("NoisyEnergyScore.levels", levels)
        self.weights = (1.0,) * len(self.levels) if weights is None else tuple(weights)
        if len(self.weights) != len(self.levels):
            raise ConfigurationError(
                f"NoisyEnergyScore.weights must have one number for each of {len(self.levels)} levels"
            )
        for weight in self.weights:
            check_number("NoisyEnergyScore.weights' entries", weight)
        check_integer("NoisyEnergyScore.num_noises", num_noises, low=1)
        self.num_noises = num_noises

    def check(self, networks: Networks) -> None:
        check_levels("NoisyEnergyScore.levels", self.levels, networks.schedule)

    def __call__(self, networks: Networks, x: Tensor, seed: int = 0) -> Tensor:
        total = x.new_zeros(len(x))
        for level, weight in zip(self.levels, self.weights, strict=True):
            c = transition_above(networks.schedule, level, x)
            bound = networks.energy.at(c)
            for k in range(self.num_noises):
                x_s = marginal(x, c.alpha_s, c.sigma_s, same_noise(seed, k, x))
                with torch.no_grad():
                    values = bound(expand_as(c.y_scale, x) * x_s)
                total = total + weight * values / c.energy_scale / self.num_noises
        return total


@gin.register
class GradientNormScore(Score):
    """||∇_y E|| at the clean image y = √α_1·√ᾱ_0·x of the cleanest level."""

    def __call__(self, networks: Networks, x: Tensor, seed: int = 0) -> Tensor:
        first = transition_above(networks.schedule, 0, x)
        y = expand_as(first.y_scale * first.alpha_s, x) * x
        return norm_per_sample(energy_and_grad(networks.energy.at(first), y)[1])


def level_tuple(name: str, levels: tuple[int, ...]) -> tuple[int, ...]:
    """Levels as a tuple, each an integer of at least 0, at least one."""
    check_instance(name, levels, (tuple, list))
    if not levels:
        raise ConfigurationError(f"{name} must hold at least one level")
    for level in levels:
        check_integer(f"{name}' entries", level, low=0)
    return tuple(levels)
