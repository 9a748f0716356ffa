"""The walk of samples down the levels, as pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from modules.report.pictures import grid, magnified, reach, save_film, scatter
from modules.sampling.generation import Sampled

HEIGHT = 460  # pixels of a picture of all samples, at most, where a whole factor magnifies it
_STRIPS = 8  # samples of the strips, as of `--task generate --levels`


@dataclass(frozen=True)
class Walk:
    """Samples on their way, x_T first, then x_{T-1}, ..., x_0 and the denoised end.

    Attributes:
        names: of each stage.
        frames: all samples at each stage, in their own pixels.
        strip: the first samples, a row each, a column a stage; points: a panel a stage.
    """

    names: list[str]
    frames: list[Image.Image]
    strip: Image.Image

    def picture(self, stage: int) -> Image.Image:
        """All samples at a stage, 0 = noise, -1 = samples."""
        return magnified(self.frames[stage], HEIGHT)

    def strips(self) -> Image.Image:
        """The strip, magnified to be seen."""
        return magnified(self.strip, HEIGHT)

    def film(self, path: Path) -> Path:
        """Write the stages as an animated GIF."""
        save_film(self.frames, path, HEIGHT)
        return path


def walk_of(drawn: Sampled) -> Walk:
    """The pictures of samples (n, c, h, w) in [-1, 1], or of points (n, d)."""
    stages = [*drawn.levels, drawn.x]
    top = len(drawn.levels) - 1
    names = [f"level {top - i} of {top}" for i in range(top + 1)] + ["samples, denoised"]
    names[0] += ", noise"
    if drawn.x.ndim == 2:
        extent = max(map(reach, stages))
        panels = dict(zip(names, stages, strict=True))
        frames = [scatter({name: points}, extent, side=4) for name, points in panels.items()]
        return Walk(names, frames, scatter(panels, extent, side=2.6))
    columns = max(1, round(len(drawn.x) ** 0.5))
    shown = torch.stack([stage[:_STRIPS] for stage in stages], 1)
    strip = grid(shown.flatten(0, 1), len(stages))
    return Walk(names, [grid(stage, columns) for stage in stages], strip)
