"""Ways between noises, or between images, by a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer
from modules.core.types import NoiseSource
from modules.data.given import as_images
from modules.runs.model import Model
from modules.sampling.draw import Draw, Start, sample_noise
from modules.sampling.interpolation import NoiseOnTheWay, spherical
from modules.schedules.forward import marginal


def interpolate(
    model: Model,
    pairs: int | tuple[Any, Any],
    frames: int = 9,
    level: int | None = None,
    label: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
    shared_noise: bool = True,
) -> Tensor:
    """Ways (n, frames, *shape) between noises or images (spec §8).

    Args:
        pairs: n, for ways between the x_T of samples 2i and 2i+1 of the seed (the first frame is sample
            2i); or images (n, *shape) at the ways' beginnings and ends (as of inpaint: tensors, arrays or
            pictures), made x_t = α_t x + σ_t ε with a fixed ε for each.
        frames: points on a way, its ends included.
        level: t of images, 1..T: the higher, the less of them is left; None: T/2.
        label: one class for all; guidance, seed, batch_size: as of generate.
        shared_noise: whether all frames of a way share the noises of the levels below; or these move too,
            from those of sample 2i to those of sample 2i+1, which then is the last frame between noises.

    Raises:
        ConfigurationError: images, a level, a label or guidance that don't fit the model.
    """
    check_integer("frames", frames, low=2)
    schedule = model.schedule
    if isinstance(pairs, tuple):
        given = [as_images(images, model.energy.shape) for images in pairs]
        num = len(given[0])
    else:
        given, num = [], pairs
    check_integer("the number of pairs", num, low=1)
    if isinstance(pairs, int):
        if level not in (None, schedule.num_levels):
            raise ConfigurationError("noises lie at the top level: a level is for ways between images")
        level = schedule.num_levels
    level = max(1, schedule.num_levels // 2) if level is None else level
    check_integer("level", level, low=1, high=schedule.num_levels)
    rows = 2 * torch.arange(num)
    noises = [sample_noise(seed, row, dtype) for row in (rows, rows + 1)]
    if given:
        ends = [_noisy(model, images, num, level, noise) for images, noise in zip(given, noises, strict=True)]
    else:
        ends = [noise.normal("x_T", model.energy.shape) for noise in noises]
    shares = torch.linspace(0, 1, frames).repeat(num)
    way = torch.arange(num).repeat_interleave(frames)  # of each frame
    noise: NoiseSource = noises[0].take(way)
    if not shared_noise:
        noise = NoiseOnTheWay(noise, noises[1].take(way), shares)
    labels = model.labels(label, len(way))
    labels = torch.full_like(way, -1) if labels is None else labels
    start = Start(spherical(ends[0][way], ends[1][way], shares), level)
    drawn = model.draw(Draw(labels, noise, start), guidance, batch_size, progress)
    return drawn.x.unflatten(0, (num, frames))


def _noisy(model: Model, images: Tensor, num: int, level: int, noise: NoiseSource) -> Tensor:
    """x_t = α_t x + σ_t ε of images (num, *shape) at level t."""
    shape = model.energy.shape
    if images.shape != (num, *shape):
        raise ConfigurationError(
            f"images must be ({num}, {', '.join(map(str, shape))}), got {tuple(images.shape)}"
        )
    eps = noise.child("encoded").normal("eps", shape)
    c = model.schedule.transition(torch.full((num,), level), eps.dtype)
    return marginal(images.to(eps.dtype), c.alpha_t, c.sigma_t, eps)
