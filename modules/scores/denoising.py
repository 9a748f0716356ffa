"""A score by the initializer: how far it is from knowing the way back to the image."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer
from modules.core.tensors import expand_as, sum_per_sample
from modules.guidance.none import NoGuidance
from modules.guidance.proposal import proposal_mean
from modules.initializers.copy import CopyInitializer
from modules.methods.networks import Networks
from modules.schedules.forward import marginal, posterior_mean
from modules.scores.base import Score, check_levels, same_noise, transition_above
from modules.scores.energy import level_tuple


@gin.register
class DenoisingScore(Score):
    """Σ_s mean_k ||g(x_t) - y_scale·E_q[x_s|x_t, x]||²/(spread² D), with the same few noises for all.

    spread is that of the proposal (spec §4) and D the number of elements: D/2 of a term is the divergence of
    the proposal from q(y | x_t, x).

    Args:
        levels: s = t - 1, each in 0..T-1.
        num_noises: how many ε a level.
    """

    def __init__(self, levels: tuple[int, ...] = (0, 1, 2), num_noises: int = 8) -> None:
        self.levels = level_tuple("DenoisingScore.levels", levels)
        check_integer("DenoisingScore.num_noises", num_noises, low=1)
        self.num_noises = num_noises

    def check(self, networks: Networks) -> None:
        check_levels("DenoisingScore.levels", self.levels, networks.schedule)
        if isinstance(networks.initializer, CopyInitializer):
            raise ConfigurationError(
                "DenoisingScore needs a trained initializer or the energy's own; the run has none (DRL)"
            )

    @torch.no_grad()
    def __call__(self, networks: Networks, x: Tensor, seed: int = 0) -> Tensor:
        energy, initializer = networks.energy, networks.initializer
        total = x.new_zeros(len(x))
        none = torch.full((len(x),), -1, device=x.device)
        for level in self.levels:
            c = transition_above(networks.schedule, level, x)
            variance = initializer.spread(c) ** 2 * x[0].numel()
            for k in range(self.num_noises):
                x_t = marginal(x, c.alpha_t, c.sigma_t, same_noise(seed, k, x))
                aim = expand_as(c.y_scale, x) * posterior_mean(x, x_t, c)
                mean = proposal_mean(NoGuidance(), energy, initializer, x_t, c, none)
                error = sum_per_sample((mean - aim) ** 2)
                total = total + error / variance / self.num_noises
        return total
