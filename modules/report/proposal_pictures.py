"""What a training step's chains made of their proposals, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from modules.report.pictures import grid, reach, save, scatter

COLUMNS = 16


def save_proposals(shown: Mapping[str, Tensor], t: Tensor, path: Path) -> None:
    """One picture of a batch: a row of images, or a panel of points, for each entry of `shown`.

    Args:
        shown: by name and in this order, samples (n, c, h, w) in [-1, 1] or points (n, d).
        t: (n,), their levels; the cleanest images come first.
        path: of the PNG.
    """
    entries = {name: x.float().cpu() for name, x in shown.items()}
    first = next(iter(entries.values()))
    if first.ndim == 2:
        scatter(entries, reach(torch.cat(list(entries.values())))).save(path)
        return
    order = t.cpu()[: len(first)].argsort(stable=True)
    every = torch.arange(min(COLUMNS, len(order))) * len(order) // min(COLUMNS, len(order))
    chosen = order[every]  # levels alike
    save(grid(torch.cat([x[chosen] for x in entries.values()]), len(chosen)), path, smallest=240)
