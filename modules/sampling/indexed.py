"""Samples by index over batches and processes: image i of a seed is the same whatever their numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

from modules.core.checks import DataError
from modules.methods.networks import Networks
from modules.runtime.runtime import Runtime
from modules.runtime.signals import SamplingStoppedError
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation, Sampled
from modules.schedules.base import Schedule


def not_finite(x: Tensor) -> int:
    """How many of the samples (n, ...) hold a NaN or an infinity."""
    return int((~x.flatten(1).isfinite().all(1)).sum())


def diverged(count: int, num: int) -> DataError:
    """The fault of samples that are not finite."""
    return DataError(
        f"{count} of {num} samples are not finite: the sampler has diverged: take another checkpoint, or "
        "smaller steps"
    )


def level_bar(draw: Draw, num: int, schedule: Schedule, batch_size: int, shown: bool) -> tqdm:
    """A bar over the levels of each batch of `num` samples: a batch alone can take minutes.

    It takes the line of a bar around it, and gives it back when it's full.
    """
    levels = draw.start.level if draw.start else schedule.num_levels
    return tqdm(
        total=levels * -(-num // batch_size),
        desc="sampling",
        unit="level",
        disable=not shown,
        leave=False,
        position=0,
        mininterval=1,
    )


def sample_batches(
    generation: Generation,
    networks: Networks,
    draw: Draw,
    indices: Tensor,
    runtime: Runtime,
    batch_size: int = 256,
    only_levels: Collection[int] | None = None,
    each: Callable[[], object] = lambda: None,
) -> Iterator[tuple[Tensor, Sampled]]:
    """Samples of a Draw by their index in it, batch after batch, on the runtime's device.

    Args:
        indices: (m,) int64, the samples of this process.
        only_levels: places in x_T ... x_0, from 0 on, of levels that are kept, beside x_0, which always is:
            of 1,000 of them all are a lot of memory. None: all.
        each: called after each level of a batch.

    Yields:
        the indices of a batch and its samples.

    Raises:
        SamplingStoppedError: between levels, where this process was told to stop; others may not know yet.
    """
    networks.energy.eval()
    networks.initializer.eval()
    for index in indices.split(batch_size) if len(indices) else ():  # none: more processes than samples
        batch = draw.take(index).to(runtime.device)
        levels: list[Tensor] = []
        with runtime.autocast():
            for place, x in enumerate(generation.walk(networks, batch)):
                if runtime.signals.code:
                    raise SamplingStoppedError
                if place:
                    each()
                if only_levels is None or place in only_levels:
                    levels.append(x)
                last = x
            if not levels or levels[-1] is not last:
                levels.append(last)
            x = generation.denoise(networks, last, batch.labels, batch.known)
        yield index, Sampled(x, levels)


def sample(
    generation: Generation,
    networks: Networks,
    draw: Draw,
    runtime: Runtime,
    batch_size: int = 256,
    progress: bool = False,
    only_levels: Collection[int] | None = None,
) -> Sampled:
    """All samples of a Draw, shared out among the processes, gathered on the CPU of each.

    Args:
        only_levels: see sample_batches.
        progress: whether the first process shows a bar.

    Raises:
        SamplingStoppedError: on every process, where any of them was told to stop.
    """
    mine = torch.arange(len(draw))[runtime.rank :: runtime.num_processes]
    bar = level_bar(draw, len(mine), networks.schedule, batch_size, progress and runtime.is_main)
    batches = sample_batches(
        generation, networks, draw, mine, runtime, batch_size, only_levels=only_levels, each=bar.update
    )
    parts: list[tuple[Tensor, Tensor]] = []
    stopped = False
    try:
        for index, drawn in batches:
            parts.append((index, torch.stack([*drawn.levels, drawn.x]).cpu()))
    except SamplingStoppedError:
        stopped = True
    bar.close()
    if runtime.any(stopped):
        raise SamplingStoppedError
    parts = runtime.gather_objects(parts)
    order = torch.cat([index for index, _ in parts]).argsort()
    stacked = torch.cat([images for _, images in parts], 1)[:, order]
    return Sampled(stacked[-1], list(stacked[:-1]))
