"""Ratios from interleaved runs: on a noisy machine only what ran side by side can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


def interleave(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each function in each round; the first round is run twice, and counted once.

    time.process_time as the clock counts the process's own: other work on the machine disturbs it less.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            began = clock()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(clock() - began)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """Median, least and largest of slow/fast over the rounds."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return median(ratios), min(ratios), max(ratios)
