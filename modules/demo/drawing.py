"""From an image to a canvas that can be drawn on, and from what was drawn to a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.core.checks import check_choice
from modules.report.pictures import grid, image_of, magnified
from modules.sampling import masks

CANVAS = 400  # pixels of the canvas's height, at most, where a whole factor magnifies it
_COVERED = 0.25  # of a pixel, from which on it counts as painted


def canvas(image: Tensor) -> Image.Image:
    """An image (c, h, w) in [-1, 1], large enough for a brush."""
    return magnified(image_of(image), CANVAS)


def known_part(layers: Sequence[Image.Image], name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The mask (h, w), bool, True = known: what a mask by name knows, but for what was painted.

    Args:
        layers: what was painted over the canvas, with alpha, in any size.
        name: one of masks.NAMES.
        shape: (c, h, w). seed: of the mask "random".
    """
    check_choice("the mask", name, list(masks.NAMES))
    known = masks.named(name, 1, shape, seed)[0, 0].clone()
    for layer in layers:
        alpha = layer.convert("RGBA").getchannel("A").point(lambda value: 255 if value else 0)
        share = alpha.resize((shape[2], shape[1]), Image.Resampling.BOX)
        known &= torch.from_numpy(np.array(share)) < 255 * _COVERED
    return known


def completed(image: Tensor, known: Tensor, completions: Tensor, columns: int = 6) -> Image.Image:
    """One picture: the image, what is known of it, and completions (k, c, h, w), in rows of `columns`."""
    seen = torch.where(known, image, torch.zeros_like(image))
    tiles = torch.cat([image[None], seen[None], completions])
    return magnified(grid(tiles, min(columns, len(tiles))), CANVAS)
