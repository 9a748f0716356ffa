"""How much a value would change with other samples, from one set of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from modules.core.noise import Noise
from modules.runtime.runtime import Runtime

if TYPE_CHECKING:
    from modules.metrics.base import Metric

LEAST = 20  # samples of which halves are worth drawing


def half_samples(n: int, numbers: Tensor) -> list[Tensor]:
    """Random halves of 0..n-1 without replacement, half k a function of (n, k)."""
    return [
        Noise(0, number[None], stream="half samples").uniform("order", (n,))[0].argsort()[: n // 2]
        for number in numbers
    ]


def standard_errors(
    metric: Metric, x: Tensor, truth: Tensor | None, number: int, runtime: Runtime, progress: bool = False
) -> dict[str, float]:
    """The standard deviation that other samples would give each value, by its values of random halves.

    m of n samples drawn without replacement have a mean of variance (σ²/m)(1 - m/n): for a half that of the
    whole's, σ²/n, and so for whatever is nearly a mean (Shao and Wu 1989, the delete-d jackknife). The usual
    bootstrap draws n with replacement; copies of a sample have a distance of 0, which spoils the radii of
    recall and coverage and the pairs of KID. References stay as they are, for they are part of what is
    measured.

    Args:
        metric: one that has its references; x: what it takes of the n samples, (n, ...).
        truth: (n,) classes asked for, where it compares with these.
        number: of halves, shared out among the processes.

    Returns:
        by name; the same on every process.
    """
    n = len(x)
    mine = torch.arange(number)[runtime.rank :: runtime.num_processes]
    found: list[dict[str, float]] = []
    bar = tqdm(total=len(mine), unit="half", disable=not (progress and runtime.is_main), desc=metric.label)
    for some in mine.split(max(1, 2**26 // n)):  # halves in memory
        found += metric.of_parts(x, truth, half_samples(n, some))
        bar.update(len(some))
    bar.close()
    found = runtime.gather_objects(found)
    half = n // 2
    scale = math.sqrt(half / (n - half))  # of an odd number
    names = [name for name in found[0] if not name.endswith(("_sd", "_real"))]
    spreads = {
        name: torch.tensor([values[name] for values in found], dtype=torch.float64).std()
        for name in names
        if all(name in values for values in found)
    }
    return {name: scale * float(spread) for name, spread in spreads.items()}
