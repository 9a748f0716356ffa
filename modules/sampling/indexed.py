"""Samples by index over batches and processes: image i of a seed is the same whatever their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

from modules.core.checks import DataError
from modules.core.noise import Noise
from modules.core.types import NoiseSource
from modules.energies.base import Energy
from modules.initializers.base import Initializer
from modules.runtime.runtime import Runtime
from modules.runtime.signals import SamplingStoppedError
from modules.sampling.generation import Generation, Sampled, Start
from modules.sampling.inpainting import Known
from modules.schedules.base import Schedule


def sample_noise(seed: int, rows: Tensor, dtype: torch.dtype = torch.float32) -> Noise:
    """The noise of images by their index (b,)."""
    return Noise(seed, rows, stream="sample", dtype=dtype)


def not_finite(x: Tensor) -> int:
    """How many of the samples (n, ...) hold a NaN or an infinity."""
    return int((~x.flatten(1).isfinite().all(1)).sum())


def diverged(count: int, num: int) -> DataError:
    """The fault of samples that are not finite."""
    return DataError(
        f"{count} of {num} samples are not finite: the sampler has diverged: take another checkpoint, or "
        "smaller steps"
    )


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
    noise_of: Callable[[Tensor], NoiseSource] | None = None,
    start: Start | None = None,
    known: Known | None = None,
) -> Iterator[tuple[Tensor, Sampled]]:
    """Images by index, batch after batch, on the runtime's device.

    Args:
        indices: (n,) int64, the images of this process; image i depends on (seed, i) only.
        labels: (n,) int64 in step with indices, -1 = none; None: all none.
        noise_of: the noise of images by their index (b,); None: sample_noise, each has its own.
        start, known: of n samples in step with indices; see Generation.sample.

    Yields:
        the indices of a batch and its samples.

    Raises:
        SamplingStoppedError: between levels, where this process was told to stop; others may not know yet.
    """
    labels = torch.full_like(indices, -1) if labels is None else labels
    energy.eval()
    initializer.eval()
    for first in range(0, len(indices), batch_size):  # none, where there are more processes than images
        part = slice(first, first + batch_size)
        label = labels[part].to(runtime.device)
        index = indices[part].to(runtime.device)
        noise = noise_of(index) if noise_of else sample_noise(seed, index, dtype)
        begin = Start(start.x[part].to(runtime.device, dtype), start.level) if start else None
        given = known.rows(part).to(runtime.device, dtype) if known else None
        levels: list[Tensor] = []
        with runtime.autocast():
            walk = generation.walk(energy, initializer, schedule, label, noise, energy.shape, begin, given)
            for x in walk:
                if runtime.signals.code:
                    raise SamplingStoppedError
                levels.append(x)
            drawn = Sampled(generation.denoise(energy, schedule, levels[-1], label, given), levels)
        yield indices[part], drawn


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
    noise_of: Callable[[Tensor], NoiseSource] | None = None,
    start: Start | None = None,
    known: Known | None = None,
    progress: bool = False,
) -> Sampled:
    """Images 0..num-1 of a seed, shared out among the processes, gathered on the CPU of each.

    Args:
        labels, noise_of, start, known: of all num images; see sample_batches.
        progress: whether the first process shows a bar.

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
        noise_of,
        None if start is None else Start(start.x[mine], start.level),
        None if known is None else known.rows(mine),
    )
    stopped = False
    bar = tqdm(total=len(mine), unit="img", disable=not (progress and runtime.is_main))
    try:
        for index, drawn in batches:
            parts.append((index, torch.stack([*drawn.levels, drawn.x]).cpu()))
            bar.update(len(index))
    except SamplingStoppedError:
        stopped = True
    bar.close()
    if runtime.any(stopped):
        raise SamplingStoppedError
    parts = runtime.gather_objects(parts)
    order = torch.cat([index for index, _ in parts]).argsort()
    stacked = torch.cat([images for _, images in parts], 1)[:, order]
    return Sampled(stacked[-1], list(stacked[:-1]))
