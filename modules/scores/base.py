"""What every score of outlyingness is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Transition
from modules.methods.networks import Networks
from modules.schedules.base import Schedule


class Score(ABC):
    """One number per image, larger = more outlying (spec §12), from trained networks without labels.

    Noises are the same for every image, so that equal images have equal scores wherever they stand.
    """

    @abstractmethod
    def __call__(self, networks: Networks, x: Tensor, seed: int = 0) -> Tensor:
        """Scores (b,) of clean images x (b, *shape) in [-1, 1]; noises are those of `seed`."""

    def fit(self, networks: Networks, x: Tensor, seed: int = 0) -> None:
        """Learn what is usual from the run's own data x (n, *shape); most scores have nothing to learn."""
        return

    def check(self, networks: Networks) -> None:
        """Raise ConfigurationError, before any compute, where a run lacks what the score needs."""
        return


def transition_above(schedule: Schedule, level: int, x: Tensor) -> Transition:
    """The transition s = level, t = level + 1 for each of x (b, ...)."""
    return schedule.transition(torch.full((len(x),), level + 1, device=x.device), x.dtype)


def same_noise(seed: int, draw: int, x: Tensor) -> Tensor:
    """One standard normal, the same for each of x (b, ...)."""
    row = torch.zeros(1, dtype=torch.int64, device=x.device)
    return Noise(seed, row, stream="score", dtype=x.dtype).normal("eps", tuple(x.shape[1:]), draw)


def check_levels(name: str, levels: tuple[int, ...], schedule: Schedule) -> None:
    """Raise unless all levels are in 0..T-1."""
    wrong = [level for level in levels if level >= schedule.num_levels]
    if wrong:
        raise ConfigurationError(f"{name} must be levels 0..{schedule.num_levels - 1}, got {wrong[0]}")
