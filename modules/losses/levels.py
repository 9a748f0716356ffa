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
    """A law of λ between a ladder's ends."""

    @abstractmethod
    def draw(self, schedule: ScoreSchedule, noise: NoiseSource) -> Tensor:
        """λ (b,), one for each row of the noise."""


@gin.register
class LadderLevels(LevelLaw):
    """u uniform in [0, 1] of the ladder's way: most levels where the ladder has most."""

    def draw(self, schedule: ScoreSchedule, noise: NoiseSource) -> Tensor:
        return schedule.logsnr_at(noise.uniform("level"))


@gin.register
class UniformLevels(LevelLaw):
    """λ uniform in [λ_min, λ_max]: the integral over λ that a likelihood is (spec §13)."""

    def draw(self, schedule: ScoreSchedule, noise: NoiseSource) -> Tensor:
        low, high = schedule.logsnr_min, schedule.logsnr_max
        return low + (high - low) * noise.uniform("level")


@gin.register
class MixedLevels(LevelLaw):
    """LadderLevels with probability `share`, else UniformLevels.

    Args:
        share: in [0, 1].
    """

    def __init__(self, share: float = 0.5) -> None:
        check_number("MixedLevels.share", share, low=0, high=1)
        self.share = share

    def draw(self, schedule: ScoreSchedule, noise: NoiseSource) -> Tensor:
        ladder, uniform = LadderLevels().draw(schedule, noise), UniformLevels().draw(schedule, noise)
        return torch.where(noise.uniform("level law") < self.share, ladder, uniform)
