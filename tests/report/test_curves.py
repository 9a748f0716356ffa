"""The curves are drawn from any journal, and drawn by what it holds."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.methods.shown import Panel
from modules.report.curves import save_curves
from modules.report.journal import Journal

PANELS = {  # figure -> row and column of its panel where every panel has something
    "gap": (0, 1),
    "grad_norm/energy": (1, 0),
    "clipped/initializer": (1, 1),
    "spectral_norm_largest/energy": (2, 1),
}
OTHERS = ("energy_positive", "loss/energy", "displacement", "chain_grad_norm", "sample_distance")


def _drawn(tmp_path, *columns: str, panels=(), **moved: float) -> np.ndarray:
    """The picture of figures that go up and down by `columns`, and of those whose size is told."""
    journal = Journal(tmp_path / "metrics.jsonl")
    sizes = {**dict.fromkeys(columns, 1.0), **moved}
    for step in range(1, 20):
        journal.write({"step": step, **{name: size * (step % 7 + 1) for name, size in sizes.items()}})
    save_curves(journal.path, tmp_path / "curves.png", panels)
    journal.path.unlink()
    return np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"), int)


def _changed(one: np.ndarray, other: np.ndarray) -> set[tuple[int, int]]:
    """Row and column of every panel in which two pictures of three rows differ."""
    rows, columns = np.nonzero(abs(one - other).sum(2))
    height, width, _ = one.shape
    return set(zip((rows * 3 // height).tolist(), (columns * 3 // width).tolist(), strict=True))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return _drawn(tmp_path_factory.mktemp("full"), *PANELS, *OTHERS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", PANELS)
def test_a_figure_is_drawn_in_its_panel(tmp_path, full, name):
    """Where another size of it changes that panel alone."""
    assert _changed(_drawn(tmp_path, *PANELS, *OTHERS, **{name: 1.5}), full) == {PANELS[name]}


@pytest.mark.filterwarnings("error")
def test_a_panel_without_anything_is_left_out(tmp_path, full):
    one = _drawn(tmp_path, "gap")
    assert one.shape[0] < full.shape[0] / 2
    assert _changed(one, _drawn(tmp_path, "gap", "other")) == set()
    assert _drawn(tmp_path).shape == one.shape  # of no figures an empty row


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("declared", [True, False])
def test_what_a_method_watches_gets_a_panel(tmp_path, full, declared):
    """In the words of the method that declares it, else by its name; one more row of panels."""
    panels = (Panel("heat of the chains", ("heat",), "healthy: cool"),) if declared else ()
    names = ("heat",) if declared else ("heat", "heat/1", "heat/2")
    drawn = _drawn(tmp_path, *PANELS, *OTHERS, *names, panels=panels)
    assert drawn.shape[0] > 1.3 * full.shape[0]
    assert _drawn(tmp_path, *PANELS, *OTHERS, "loss/critic", "other", panels=panels).shape == full.shape


@pytest.mark.filterwarnings("error")
def test_losses_of_all_networks_are_in_one_panel(tmp_path, full):
    drawn = _drawn(tmp_path, *PANELS, *OTHERS, "loss/critic", **{"loss/critic": 2.0})
    assert _changed(drawn, full) == {(0, 2)}


@pytest.mark.filterwarnings("error")
def test_losses_of_one_size_have_numbers_at_their_axis(tmp_path):
    """A logarithmic axis of 2 to 14 would show none: ten of its marks lie in their place."""
    (journal := Journal(tmp_path / "metrics.jsonl")).write({"step": 1, "loss/energy": 12.0})
    journal.write({"step": 2, "loss/energy": 26.0})
    save_curves(journal.path, tmp_path / "curves.png")
    found = np.asarray(Image.open(tmp_path / "curves.png").convert("L"), int)
    labels = (found[:-70, :44] < 128).any(1)  # left of the axis, above what is said of the steps
    assert (labels[1:] & ~labels[:-1]).sum() >= 4


@pytest.mark.filterwarnings("error")
def test_levels_are_drawn_beside_the_mean(tmp_path):
    (tmp_path / "with").mkdir()
    one = _drawn(tmp_path, "gap")
    other = _drawn(tmp_path / "with", "gap", "gap/1", "gap/2", "gap/10")
    assert abs(one - other).sum() > 0


def test_a_rollback_is_marked_in_every_panel(tmp_path, full):
    journal = Journal(tmp_path / "metrics.jsonl")
    for step in range(1, 20):
        figures = dict.fromkeys((*PANELS, *OTHERS), float(step % 7 + 1))
        journal.write({"step": step, "rollbacks": int(step > 9), **figures})
    save_curves(journal.path, tmp_path / "curves.png")
    drawn = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"), int)
    assert _changed(drawn, full) == {(row, column) for row in range(3) for column in range(3)}


@pytest.mark.filterwarnings("error")
def test_a_divergence_is_drawn(tmp_path):
    """Energies of 10^30 beside those of 1: the first half still shows, and so it matters what it was.

    Figures that are no numbers leave their panel as it is.
    """

    def drawn(name: str, level: float) -> np.ndarray:
        journal = Journal(tmp_path / name)
        for step in range(1, 20):
            energy = level if step < 10 else 10.0 ** (3 * (step - 9))
            figures = dict.fromkeys((*PANELS, *OTHERS), 1.0)
            journal.write({"step": step, **figures, "gap": -energy, "displacement": float("nan")})
        save_curves(journal.path, tmp_path / "curves.png")
        return np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"), int)

    one, other = drawn("one", 1.0), drawn("other", 1e6)
    assert _changed(one, other) == {PANELS["gap"]}
    # and by more than a line's width: a sixth of the panel's height at least
    rows, _ = np.nonzero(abs(one - other).sum(2))
    assert rows.max() - rows.min() > len(one) / 18
