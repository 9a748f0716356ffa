"""Completions of images by a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from modules.core.checks import check_integer
from modules.runs.model import Model
from modules.sampling.draw import Draw
from modules.sampling.inpainting import check_known


def inpaint(
    model: Model,
    images: Any,
    mask: Any,
    completions: int = 1,
    label: int | Sequence[int] | Tensor | None = None,
    guidance: float | None = None,
    seed: int = 0,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> Tensor:
    """Completions (n, k, *shape) of images, the known pixels exactly as they are (spec §8).

    Completion j of image i has the noise of sample i·k + j of the seed.

    Args:
        images: (n, *shape), floats in [-1, 1] or uint8, tensor or array; or pictures of Pillow.
        mask: 1 = known, 0 = to be found: (h, w), *shape or (n, *shape).
        completions: k.
        label: one class for all, or (n,) classes, -1 = none; None: none.
        guidance, seed, batch_size: as of generate. progress: whether to show a bar.

    Raises:
        ConfigurationError: images, masks, labels or guidance that don't fit the model.
    """
    check_integer("completions", completions, low=1)
    known = check_known(images, mask, model.energy.shape)
    num = len(known.image)
    labels = model.labels(label, num)
    each = torch.arange(num).repeat_interleave(completions)
    of_each = None if labels is None else labels[each]
    draw = Draw.of_seed(seed, len(each), of_each, known.take(each), dtype)
    drawn = model.draw(draw, guidance, batch_size, progress)
    return drawn.x.unflatten(0, (num, completions))
