"""Ways between noises, or between images, by a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modules.checks import ConfigurationError, check_integer
from modules.forward import marginal
from modules.generation import Start
from modules.interpolation import spherical
from modules.noise import Noise

if TYPE_CHECKING:
    from modules.runs.run import Run


def interpolate(
    run: Run,
    pairs: int | tuple[Tensor, Tensor],
    frames: int = 9,
    level: int | None = None,
    label: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> Tensor:
    """Ways (n, frames, *shape) between noises or images; all other noise of a way is shared (spec §8).

    Args:
        pairs: n, for ways between the x_T of samples 2i and 2i+1 of the seed (the first frame is sample
            2i); or images (n, *shape) at the ways' beginnings and ends, made x_t = α_t x + σ_t ε with
            a fixed ε for each.
        frames: points on a way, its ends included.
        level: t of images, 1..T: the higher, the less of them is left; None: T/2.
        label: one class for all; guidance, seed, batch_size: as of generate.

    Raises:
        ConfigurationError: images, a level, a label or guidance that don't fit the model.
    """
    check_integer("frames", frames, low=2)
    schedule, shape = run.method.schedule, run.energy.shape
    between_images = isinstance(pairs, tuple)
    num = len(pairs[0]) if isinstance(pairs, tuple) else pairs
    check_integer("the number of pairs", num, low=1)
    rows = 2 * torch.arange(num)
    noises = [Noise(seed, r, stream="sample", dtype=dtype) for r in (rows, rows + 1)]
    top = schedule.num_levels if not between_images else max(1, schedule.num_levels // 2)
    level = top if level is None else level
    check_integer("level", level, low=1, high=schedule.num_levels)
    if isinstance(pairs, tuple):
        for images in pairs:
            if images.shape != (num, *shape):
                raise ConfigurationError(
                    f"images must be ({num}, {', '.join(map(str, shape))}), got {tuple(images.shape)}"
                )
        c = schedule.transition(torch.full((num,), level), dtype)
        ends = [
            marginal(images.to(dtype), c.alpha_t, c.sigma_t, noise.child("encoded").normal("eps", shape))
            for images, noise in zip(pairs, noises, strict=True)
        ]
    elif level != schedule.num_levels:
        raise ConfigurationError("noises lie at the top level: a level is for ways between images")
    else:
        ends = [noise.normal("x_T", shape) for noise in noises]
    ways = spherical(ends[0], ends[1], torch.linspace(0, 1, frames)).flatten(0, 1)
    drawn = run.draw(
        len(ways),
        run.labels(label, len(ways)),
        guidance,
        seed,
        batch_size,
        dtype,
        progress,
        rows=rows.repeat_interleave(frames),
        start=Start(ways, level),
    )
    return drawn.x.unflatten(0, (num, frames))
