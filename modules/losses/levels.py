"""Which noise levels a loss of continuous levels looks at."""

from __future__ import annotations

from abc import ABC, abstractmethod

import gin
import torch
from torch import Tensor

from modules.core.checks import check_number
from modules.core.types import NoiseSource
from modules.schedules.score import ScoreSchedule


class LevelLaw(ABC):
    """A law of λ between a ladder's ends; the laws here spread a batch's λ evenly (`NoiseSource.spread`)."""

    @abstractmethod
    def draw(self, schedule: ScoreSchedule, noise: NoiseSource) -> Tensor:
        """λ (b,), one for each row of the noise."""


@gin.register
class LadderLevels(LevelLaw):
    """u uniform in [0, 1] of the ladder's way: most levels where the ladder has most."""

    def draw(self, schedule: ScoreSchedule, noise: NoiseSource) -> Tensor:
        return schedule.logsnr_at(noise.spread("level"))


@gin.register
class UniformLevels(LevelLaw):
    """λ uniform in [λ_min, λ_max]: the integral over λ that a likelihood is (spec §13)."""

    def draw(self, schedule: ScoreSchedule, noise: NoiseSource) -> Tensor:
        return _evenly(schedule, noise.spread("level"))


@gin.register
class MixedLevels(LevelLaw):
    """LadderLevels in a `share` of a batch, UniformLevels in the rest; the parts lie evenly, each by itself.

    Args:
        share: in [0, 1].
    """

    def __init__(self, share: float = 0.5) -> None:
        check_number("MixedLevels.share", share, low=0, high=1)
        self.share = share

    def draw(self, schedule: ScoreSchedule, noise: NoiseSource) -> Tensor:
        u, share = noise.spread("level"), self.share
        # u below the share, and above it, is uniform again once it is stretched
        if share in (0, 1):
            return schedule.logsnr_at(u) if share else _evenly(schedule, u)
        below = (u / share).clamp(max=1 - 2.0**-24)
        above = ((u - share) / (1 - share)).clamp(min=0)
        return torch.where(u < share, schedule.logsnr_at(below), _evenly(schedule, above))


def _evenly(schedule: ScoreSchedule, u: Tensor) -> Tensor:
    return schedule.logsnr_min + (schedule.logsnr_max - schedule.logsnr_min) * u
