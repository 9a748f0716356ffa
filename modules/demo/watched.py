"""A run that says how far its sampling is, and that can be stopped between two levels."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor

from modules.core.types import Chain, NoiseSource, Potential, Transition
from modules.runs import Run
from modules.samplers.base import Sampler

Report = Callable[[int, int], None]
"""Is told the chains done and their number, before each; what it raises ends the sampling."""


class _Watched(Sampler):
    """A sampler that reports whenever it is asked for another level's chains."""

    def __init__(self, sampler: Sampler, total: int, report: Report) -> None:
        self.sampler, self.total, self.report = sampler, total, report
        self.done = 0

    def at(self, transition: Transition) -> Sampler:
        """The sampler's own."""
        self.report(self.done, self.total)
        self.done += 1
        return self.sampler.at(transition)

    def sample(
        self,
        potential: Potential,
        y: Tensor,
        step_size: Tensor,
        noise: NoiseSource,
        free: Tensor | None = None,
    ) -> Chain:
        """The sampler's own."""
        return self.sampler.sample(potential, y, step_size, noise, free)


def watched(run: Run, batches: int, report: Report) -> Run:
    """The run, reporting once a level of each of `batches` batches; its samples are the same."""
    seen = copy.copy(run)
    seen.generation = copy.copy(run.generation)
    total = batches * run.method.schedule.num_levels
    seen.generation.sampler = _Watched(run.generation.sampler, total, report)
    return seen
