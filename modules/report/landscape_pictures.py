"""Landscapes as pictures: planes by level with samples, their animation, and lines between images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from modules.analysis.landscape import Plane
from modules.report.curves import figure
from modules.report.pictures import grid

_NATS = 12.0  # of energy above the minimum that the colours tell apart


def planes_picture(
    planes: Sequence[Plane], samples: Sequence[Tensor], peaks: Sequence[float], title: str
) -> Image.Image:
    """A column a level: energy, density, and samples x_s of the model over the density.

    Args:
        samples: of each level, (n, 2).
        peaks: densities drawn darkest, one a level, so that frames of an animation share their colours.
    """
    fig, axes = figure(3, len(planes), width=1.9 * len(planes) + 0.4, height=6.3)
    fig.subplots_adjust(0.35 / (1.9 * len(planes)), 0.02, 0.99, 0.88, wspace=0.05, hspace=0.05)
    fig.suptitle(title, fontsize=11)
    for column, (at, points, peak) in enumerate(zip(planes, samples, peaks, strict=True)):
        square = (-at.extent, at.extent) * 2
        energy, density, drawn = axes[:, column]
        options: dict[str, Any] = {"extent": square, "origin": "lower"}
        energy.imshow(at.energy.clamp(max=_NATS).numpy(), cmap="viridis_r", vmin=0, vmax=_NATS, **options)
        for axis in (density, drawn):
            axis.imshow(at.density.numpy(), cmap="Blues", vmin=0, vmax=peak, **options)
        drawn.scatter(points[:, 0], points[:, 1], s=1.5, linewidths=0, color="crimson", alpha=0.6)
        energy.set_title(f"level {at.level}", fontsize=9)
        for axis in (energy, density, drawn):
            axis.set(xticks=[], yticks=[], xlim=square[:2], ylim=square[:2])
    for axis, name in zip(axes[:, 0], (f"energy, 0 to {_NATS:g} nats", "density", "samples"), strict=True):
        axis.set_ylabel(name, fontsize=9)
    fig.set_dpi(80)
    fig.canvas.draw()
    return Image.fromarray(np.asarray(fig.canvas.buffer_rgba())).convert("RGB")


def save_animation(frames: Sequence[Image.Image], path: Path) -> None:
    """A GIF of the frames, half a second each, that rests on the last one."""
    palettes = [frame.quantize(128) for frame in frames]
    lengths = [500] * (len(frames) - 1) + [2000]
    palettes[0].save(path, save_all=True, append_images=palettes[1:], duration=lengths, loop=0)


def save_line(x: Tensor, energies: Tensor, path: Path) -> None:
    """The images along a line, and below them the energy at each level, above its value at the first.

    Args:
        x: (count, c, h, w). energies: (T, count), in nats.
    """
    fig, axes = figure(2, 1, width=9, height=6)
    fig.subplots_adjust(0.09, 0.09, 0.98, 0.97, hspace=0.05)
    strip, curves = axes[:, 0]
    shown = x[np.linspace(0, len(x) - 1, min(13, len(x))).round().astype(int)]
    strip.imshow(np.asarray(grid(shown, len(shown)).convert("RGB")))
    strip.set(xticks=[], yticks=[])
    strip.set_position((0.09, 0.88, 0.89, 0.1))
    curves.set_position((0.09, 0.09, 0.89, 0.77))
    u = np.linspace(0, 1, len(x))
    for level, values in enumerate(energies):
        curves.plot(u, (values - values[0]).numpy(), label=f"level {level}", linewidth=1.2)
    curves.set(xlabel="u of (1-u)·first + u·second", ylabel="energy -F_s, nats above the first image's")
    curves.set_xlim(0, 1)
    curves.set_yscale("symlog", linthresh=10)
    curves.legend(fontsize=8)
    fig.savefig(path, dpi=90)
