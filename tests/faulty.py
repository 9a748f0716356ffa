"""Components that fail on purpose, at one step and on one process: NaNs, explosions, signals, kills.

`--import tests/faulty.py` makes them known to a gin file.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from fnmatch import fnmatch

import gin
import torch
from torch import Tensor

from modules.core.noise import Noise
from modules.core.types import Chain, Potential, Transition
from modules.losses.cooperative import WarmStart
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.samplers.base import Sampler
from modules.samplers.langevin import Langevin


def strike(fault: str, y: Tensor) -> Tensor:
    """y with the fault in its first sample, or as it was after a signal was sent to this process."""
    if fault.startswith("SIG"):
        for name in fault.split("+"):
            os.kill(os.getpid(), getattr(signal, name))
        return y
    y = y.clone()
    y[0] = {"nan": float("nan"), "inf": float("inf"), "explode": 1e8}[fault]
    return y


@gin.register
class FaultySampler(Sampler):
    """Two Langevin steps; then the fault, where step, stream and process are the ones named.

    Args:
        fault: "nan", "inf", "explode", or names of signals such as "SIGTERM" and "SIGINT+SIGINT".
        step: 0, 1, ...
        stream: the name of the noise's stream, or with a * how it starts: "train" is over after a rollback,
            "train*" isn't.
        rank: of the process, None: each.
    """

    def __init__(self, fault: str, step: int, stream: str = "train", rank: int | None = None) -> None:
        self.fault, self.step, self.stream, self.rank = fault, step, stream, rank
        self.seen: list[tuple[str, int]] = []

    def sample(
        self, potential: Potential, y: Tensor, step_size: Tensor, noise: Noise, free: Tensor | None = None
    ) -> Chain:
        chain = Langevin(2).sample(potential, y, step_size, noise, free)
        self.seen.append((noise.stream, noise.step))
        here = self.rank in (None, int(os.environ.get("RANK", "0")))
        if here and noise.step == self.step and fnmatch(noise.stream, self.stream):
            chain = replace(chain, y=strike(self.fault, chain.y))
            self.rank = -1 if self.fault.startswith("SIG") else self.rank  # a signal is sent once
        return chain


class FaultyLoss(RecoveryLikelihoodLoss):
    """At its call number `call` (0, 1, ...) a loss that is NaN, or one whose gradient alone is."""

    def __init__(self, call: int, gradient: bool) -> None:
        super().__init__()
        self.call, self.gradient, self.calls = call, gradient, 0

    def __call__(self, positive: Tensor, negative: Tensor, transition: Transition) -> Tensor:
        loss = super().__call__(positive, negative, transition)
        self.calls += 1
        if self.calls - 1 != self.call:
            return loss
        # d√x/dx is infinite at 0
        return loss + torch.sqrt(0 * loss) if self.gradient else loss * float("nan")


class FaultyWarmStart(WarmStart):
    """At its call number `call` (0, 1, ...) a signal."""

    def __init__(self, num_steps: int, call: int, fault: str) -> None:
        super().__init__(num_steps)
        self.call, self.fault, self.calls = call, fault, 0

    def __call__(self, mean: Tensor, x: Tensor, x_t: Tensor, transition: Transition) -> Tensor:
        if self.calls == self.call:
            strike(self.fault, mean)
        self.calls += 1
        return super().__call__(mean, x, x_t, transition)
