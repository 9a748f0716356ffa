"""The curves are drawn from any journal, and drawn by what it holds."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.methods.shown import Panel
from modules.report.curves import save_curves
from modules.report.journal import Journal

PANELS = {  # figure -> row and column of its panel
    "gap": (0, 1),
    "grad_norm/energy": (1, 0),
    "clipped/initializer": (1, 1),
    "spectral_norm_largest/energy": (2, 1),
}


def _drawn(tmp_path, *columns: str, panels=()) -> np.ndarray:
    journal = Journal(tmp_path / "metrics.jsonl")
    for step in range(1, 20):
        journal.write({"step": step, **{name: float(step % 7 + 1) for name in columns}})
    save_curves(journal.path, tmp_path / "curves.png", panels)
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
    panels = set(zip((rows * 3 // height).tolist(), (columns * 3 // width).tolist(), strict=True))
    assert panels == {PANELS[name]}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("declared", [True, False])
def test_what_a_method_watches_gets_a_panel(tmp_path, empty, declared):
    """In the words of the method that declares it, else by its name; one more row of panels."""
    panels = (Panel("heat of the chains", ("heat",), "healthy: cool"),) if declared else ()
    names = ("heat",) if declared else ("heat", "heat/1", "heat/2")
    drawn = _drawn(tmp_path, *names, panels=panels)
    assert drawn.shape[0] > 1.3 * empty.shape[0]
    assert _drawn(tmp_path, "loss/critic", "other", panels=panels).shape == empty.shape


@pytest.mark.filterwarnings("error")
def test_losses_of_all_networks_are_in_one_panel(tmp_path, empty):
    rows, columns = np.nonzero(abs(_drawn(tmp_path, "loss/energy", "loss/critic") - empty).sum(2))
    height, width, _ = empty.shape
    assert set(zip((rows * 3 // height).tolist(), (columns * 3 // width).tolist(), strict=True)) == {(0, 2)}


@pytest.mark.filterwarnings("error")
def test_levels_are_drawn_beside_the_mean(tmp_path):
    (tmp_path / "with").mkdir()
    one = _drawn(tmp_path, "gap")
    other = _drawn(tmp_path / "with", "gap", "gap/1", "gap/2", "gap/10")
    assert abs(one - other).sum() > 0


def test_a_rollback_is_marked_in_every_panel(tmp_path, empty):
    journal = Journal(tmp_path / "metrics.jsonl")
    for step in range(1, 20):
        journal.write({"step": step, "rollbacks": int(step > 9)})
    save_curves(journal.path, tmp_path / "curves.png")
    drawn = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"), int)
    rows, columns = np.nonzero(abs(drawn - empty).sum(2))
    height, width, _ = empty.shape
    assert set(zip((rows * 3 // height).tolist(), (columns * 3 // width).tolist(), strict=True)) == {
        (row, column) for row in range(3) for column in range(3)
    }


@pytest.mark.filterwarnings("error")
def test_a_divergence_is_drawn(tmp_path):
    """Energies of 10^30 beside those of 1: the first half still shows, and so it matters what it was.

    Figures that are no numbers leave their panel as it is.
    """

    def drawn(name: str, level: float) -> np.ndarray:
        journal = Journal(tmp_path / name)
        for step in range(1, 20):
            energy = level if step < 10 else 10.0 ** (3 * (step - 9))
            journal.write({"step": step, "gap": -energy, "displacement": float("nan")})
        save_curves(journal.path, tmp_path / "curves.png")
        return np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"), int)

    one, other = drawn("one", 1.0), drawn("other", 1e6)
    rows, columns = np.nonzero(abs(one - other).sum(2))
    height, width, _ = one.shape
    panels = set(zip((rows * 3 // height).tolist(), (columns * 3 // width).tolist(), strict=True))
    assert panels == {PANELS["gap"]}
    # and by more than a line's width: a sixth of the panel's height at least
    assert rows.max() - rows.min() > height / 18
