"""What runs of tests do less of where nobody looks: figures are blank, constants and pilots of few examples.

Runs of this process, and those that `tests.forks` starts. Figures that are looked at are drawn:
`with light.drawn():`. That odd numbers are drawn without a fault is for report/test_curves.py, what a picture
of points shows for report/test_pictures.py, what a constant is measured on for
methods/test_one_energy_constant.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from modules.methods import one_energy
from modules.methods.shown import Panel
from modules.report import page, pictures, proposal_pictures
from modules.report.curves import save_curves
from modules.tasks import _annealing
from modules.training import diary

_FIGURES = (
    (diary, "save_curves", save_curves),
    (page, "_draw_values", page._draw_values),
    (pictures, "scatter", pictures.scatter),
    (proposal_pictures, "scatter", pictures.scatter),
    (Figure, "savefig", Figure.savefig),
)

_FEW = (
    (one_energy, "_CALIBRATION", 256),
    # of the likelihood task alone: how well its paths are tuned is for tests/analysis
    (_annealing, "_PILOT", 8),
    (_annealing, "_SETTLING", 2),
)


def _save_blank(journal: Path, path: Path, panels: Sequence[Panel] = ()) -> None:
    Image.new("L", (8, 8)).save(path)


def _no_values(folder: Path) -> None:
    """Without values.png the page has none."""


def _bytes_of_points(panels: Mapping[str, Tensor], extent: float, side: float = 2.2) -> Image.Image:
    """Every bit of the points, a row each: pictures are alike where the numbers are."""
    rows = [points.cpu().contiguous().numpy().view(np.uint8).reshape(1, -1) for points in panels.values()]
    width = max(row.shape[1] for row in rows)
    return Image.fromarray(np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in rows]))


def _save_undrawn(figure: Figure, path: Path, **_: object) -> None:
    """What was put into the figure is not looked at, but its faults are found."""
    Image.new("L", (8, 8)).save(path)


def lighten(patch: pytest.MonkeyPatch) -> None:
    """From here on, until the patch is undone."""
    blanks = (_save_blank, _no_values, _bytes_of_points, _bytes_of_points, _save_undrawn)
    for (module, name, _), blank in zip(_FIGURES, blanks, strict=True):
        patch.setattr(module, name, blank)
    for module, name, few in _FEW:
        patch.setattr(module, name, few)


@contextmanager
def light() -> Iterator[None]:
    """Runs of this process do less."""
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        yield


@contextmanager
def drawn() -> Iterator[None]:
    """They draw their figures."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, draw in _FIGURES:
            patch.setattr(module, name, draw)
        yield
