"""The curves are drawn from any journal, and drawn by what it holds."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.report.curves import save_curves
from modules.report.journal import Journal

PANELS = {"gap": (0, 1), "grad_norm/energy": (1, 0)}  # figure -> row and column of its panel


def _drawn(tmp_path, *columns: str) -> np.ndarray:
    journal = Journal(tmp_path / "metrics.jsonl")
    for step in range(1, 20):
        journal.write({"step": step, **{name: float(step % 7 + 1) for name in columns}})
    save_curves(journal.path, tmp_path / "curves.png")
    return np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"), int)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return _drawn(tmp_path_factory.mktemp("empty"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", PANELS)
def test_a_figure_is_drawn_in_its_panel(tmp_path, empty, name):
    """Beside the empty picture only the panel of that figure changes."""
    rows, columns = np.nonzero(abs(_drawn(tmp_path, name) - empty).sum(2))
    height, width, _ = empty.shape
    panels = set(zip((rows * 2 // height).tolist(), (columns * 3 // width).tolist(), strict=True))
    assert panels == {PANELS[name]}


@pytest.mark.filterwarnings("error")
def test_levels_are_drawn_beside_the_mean(tmp_path):
    (tmp_path / "with").mkdir()
    one = _drawn(tmp_path, "gap")
    other = _drawn(tmp_path / "with", "gap", "gap/1", "gap/2", "gap/10")
    assert abs(one - other).sum() > 0
