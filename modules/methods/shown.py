"""What a training step hands on to be looked at."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from modules.core.tensors import expand_as
from modules.core.types import Transition


@dataclass(frozen=True)
class Panel:
    """Curves of a run in one panel: its title, the figures' names, and what a healthy run shows."""

    title: str
    figures: tuple[str, ...]
    healthy: str = ""


def first_rows(
    x_t: Tensor, ends: dict[str, Tensor], x_s: Tensor, transition: Transition
) -> dict[str, Tensor]:
    """The first rows of a batch: x_t, where its chains begin and end in the coordinates of x_s, and x_s."""
    rows = slice(max(16, 4096 // x_s[0].numel()))
    scale = expand_as(transition.y_scale[rows], x_s)
    inner = {name: y[rows] / scale for name, y in ends.items()}
    # copies: a view would keep the whole batch
    return {"noisier": x_t[rows].clone(), **inner, "data": x_s[rows].clone()}
