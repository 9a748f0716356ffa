"""Samples by index over batches and processes: image i of a seed is the same whatever their numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from modules.energies.base import Energy
from modules.generation import Generation, Sampled
from modules.initializers.base import Initializer
from modules.noise import Noise
from modules.runtime import Runtime
from modules.schedules import Schedule
from modules.signals import SamplingStoppedError


def sample_batches(
    generation: Generation,
    energy: Energy,
    initializer: Initializer,
    schedule: Schedule,
    indices: Tensor,
    labels: Tensor | None,
    seed: int,
    runtime: Runtime,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[Tensor, Sampled]]:
    """Images by index, batch after batch, on the runtime's device.

    Args:
        indices: (n,) int64, the images of this process; image i depends on (seed, i) only.
        labels: (n,) int64 in step with indices, -1 = none; None: all none.

    Yields:
        the indices of a batch and its samples.

    Raises:
        SamplingStoppedError: between levels, where this process was told to stop; others may not know yet.
    """
    labels = torch.full_like(indices, -1) if labels is None else labels
    energy.eval()
    initializer.eval()
    for start in range(0, len(indices), batch_size):  # none, where there are more processes than images
        index = indices[start : start + batch_size]
        label = labels[start : start + batch_size].to(runtime.device)
        noise = Noise(seed, index.to(runtime.device), stream="sample", dtype=dtype)
        levels: list[Tensor] = []
        with runtime.autocast():
            for x in generation.walk(energy, initializer, schedule, label, noise, energy.shape):
                if runtime.signals.code:
                    raise SamplingStoppedError
                levels.append(x)
            drawn = Sampled(generation.denoise(energy, schedule, levels[-1], label), levels)
        yield index, drawn


def sample(
    generation: Generation,
    energy: Energy,
    initializer: Initializer,
    schedule: Schedule,
    num: int,
    labels: Tensor | None,
    seed: int,
    runtime: Runtime,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
) -> Sampled:
    """Images 0..num-1 of a seed, shared out among the processes, gathered on the CPU of each.

    Raises:
        SamplingStoppedError: on every process, where any of them was told to stop.
    """
    mine = torch.arange(num)[runtime.rank :: runtime.num_processes]
    parts: list[tuple[Tensor, Tensor]] = []
    batches = sample_batches(
        generation,
        energy,
        initializer,
        schedule,
        mine,
        None if labels is None else labels[mine],
        seed,
        runtime,
        batch_size,
        dtype,
    )
    stopped = False
    try:
        for index, drawn in batches:
            parts.append((index, torch.stack([*drawn.levels, drawn.x]).cpu()))
    except SamplingStoppedError:
        stopped = True
    if runtime.any(stopped):
        raise SamplingStoppedError
    parts = runtime.gather_objects(parts)
    order = torch.cat([index for index, _ in parts]).argsort()
    stacked = torch.cat([images for _, images in parts], 1)[:, order]
    return Sampled(stacked[-1], list(stacked[:-1]))
