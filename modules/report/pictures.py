"""Samples as pictures: grids of images, strips of levels, scatter plots of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from modules.data.quantization import to_bytes

_MOST_LEVELS = 12  # beside the samples
_GAP = 2  # pixels between pictures, before magnification


def image_of(image: Tensor) -> Image.Image:
    """One image (c, h, w) in [-1, 1] as a picture: grey for one channel, RGB for three, RGBA for four.

    Any other number of channels is shown as grey panels side by side.
    """
    pixels = to_bytes(image).cpu()
    if pixels.shape[0] in (3, 4):
        return Image.fromarray(np.ascontiguousarray(rearrange(pixels, "c h w -> h w c").numpy()))
    return Image.fromarray(np.ascontiguousarray(rearrange(pixels, "c h w -> h (c w)").numpy()))


def grid(images: Tensor, columns: int) -> Image.Image:
    """Images (n, c, h, w) in rows of `columns`."""
    tiles = [image_of(image) for image in images]
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    page = Image.new(
        tiles[0].mode, (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), _paper(tiles[0])
    )
    for n, tile in enumerate(tiles):
        page.paste(tile, (_GAP + n % columns * (width + _GAP), _GAP + n // columns * (height + _GAP)))
    return page


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures on one page."""
    size = (left.width + right.width + 4 * _GAP, max(left.height, right.height))
    page = Image.new(left.mode, size, _paper(left))
    page.paste(left, (0, 0))
    page.paste(right, (left.width + 4 * _GAP, 0))
    return page


def magnified(picture: Image.Image, smallest: int) -> Image.Image:
    """By the largest whole factor that keeps the height within `smallest` pixels; no smaller than it is."""
    factor = max(1, smallest // picture.height)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def save(picture: Image.Image, path: Path, smallest: int = 320) -> None:
    """Write a PNG, magnified."""
    magnified(picture, smallest).save(path)


def save_film(frames: Sequence[Image.Image], path: Path, smallest: int = 320) -> None:
    """Write an animated GIF without end, half a second a frame and two the last, magnified."""
    large = [magnified(frame, smallest) for frame in frames]
    durations = [500] * (len(large) - 1) + [2000]
    large[0].save(path, save_all=True, append_images=large[1:], duration=durations, loop=0)


def shown_levels(top: int) -> list[int]:
    """Places in x_T ... x_0, T = top, of the levels that a picture shows: all, or a few with both ends."""
    few = min(top + 1, _MOST_LEVELS)
    return [round(i * top / max(1, few - 1)) for i in range(few)]


def save_samples(
    samples: Tensor, levels: Sequence[Tensor], path: Path, chosen: Sequence[int] | None = None
) -> None:
    """One picture of a walk: the samples at the left, some of them level by level at the right.

    Args:
        samples: (n, c, h, w) images in [-1, 1], or (n, d) points, shown by their first two coordinates.
        levels: x_T ... x_0, each like samples; of many a few are shown, the ends among them; or none.
        chosen: where levels are those of `shown_levels` already, their places.
    """
    if chosen is None:
        chosen = shown_levels(len(levels) - 1)
        levels = [levels[i] for i in chosen]
    top = chosen[-1] if chosen else 0
    if samples.ndim == 2:
        names = [f"level {top - i}" for i in chosen] + ["samples"]
        scatter(dict(zip(names, [*levels, samples], strict=True)), reach(samples)).save(path)
        return
    columns = max(1, round(len(samples) ** 0.5))
    rows = -(-len(samples) // columns)
    shown = min(rows, len(samples))
    strip = torch.stack([*(level[:shown] for level in levels), samples[:shown]], 1)
    walk = grid(strip.flatten(0, 1), len(levels) + 1)
    save(side_by_side(grid(samples, columns), walk), path)


def reach(points: Tensor) -> float:
    """Half the side of the square about 0 that shows points (n, d), 1.1 at least."""
    return 1.1 * max(float(points.abs().max()), 1.0)


def scatter(panels: Mapping[str, Tensor], extent: float, side: float = 2.2) -> Image.Image:
    """Points (n, d) of each panel by their first two coordinates, within ±extent.

    Args:
        side: of a panel, in inches of 110 pixels.
    """
    from modules.report.curves import figure  # late: matplotlib is slow to import

    fig, axes = figure(1, len(panels), width=side * len(panels), height=side + 0.2)
    fig.subplots_adjust(0.01, 0.02, 0.99, 0.9, wspace=0.05)
    for axis, (name, points) in zip(axes.flat, panels.items(), strict=True):
        across, up = points[:, 0].cpu(), points[:, min(1, points.shape[1] - 1)].cpu()
        axis.scatter(
            across.numpy(), up.numpy(), s=min(8, max(1, 3000 / len(points))), linewidths=0, alpha=0.5
        )
        axis.set(
            xlim=(-extent, extent), ylim=(-extent, extent), xticks=[], yticks=[], title=name, aspect="equal"
        )
    fig.set_dpi(110)
    fig.canvas.draw()
    return Image.fromarray(np.asarray(fig.canvas.buffer_rgba()))


def _paper(tile: Image.Image) -> int | tuple[int, ...]:
    """The colour between pictures."""
    bands = len(tile.getbands())
    return 90 if bands == 1 else (90,) * 3 + (255,) * (bands - 3)
