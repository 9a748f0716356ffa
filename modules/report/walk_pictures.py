"""Walks as pictures: every level as strips and a film, and the same seeds under several guidance scales."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from modules.report.pictures import grid, reach, save, save_film, scatter

_COLUMNS = 20  # of a sweep's picture, at most


def save_levels(walk: Tensor, folder: Path) -> None:
    """levels.gif, from noise to samples; and of images levels.png, a strip of each of the first 8.

    Args:
        walk: x_T, ..., x_0, x (levels + 1, n, *shape), images in [-1, 1] or points.
    """
    if walk.ndim == 3:
        names = [*(f"level {len(walk) - 2 - i}" for i in range(len(walk) - 1)), "samples"]
        extent = 1.1 * float(walk.abs().max())
        frames = [scatter({name: points}, extent) for points, name in zip(walk, names, strict=True)]
    else:
        strips = walk[:, :8].transpose(0, 1).flatten(0, 1)
        save(grid(strips, len(walk)), folder / "levels.png", smallest=640)
        columns = max(1, round(walk.shape[1] ** 0.5))
        frames = [grid(images, columns) for images in walk]
    save_film(frames, folder / "levels.gif")


def save_sweep(swept: Mapping[float | None, Tensor], labels: Tensor | None, path: Path) -> None:
    """Images, a scale w a row and the same seeds in each column, ordered by class; points side by side.

    Args:
        swept: w -> samples (n, *shape).
        labels: (n or more,) of their classes, or None.
    """
    samples = list(swept.values())
    if samples[0].ndim == 2:
        panels = {f"w = {scale:g}": points for scale, points in swept.items()}
        scatter(panels, reach(samples[-1])).save(path)
        return
    order = torch.arange(len(samples[0]))
    if labels is not None:
        order = labels[: len(order)].argsort(stable=True)
    columns = order[:: -(-len(order) // _COLUMNS)]
    rows = torch.stack([images[columns] for images in samples])
    save(grid(rows.flatten(0, 1), len(columns)), path, smallest=480)
