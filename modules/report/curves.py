"""The curves of a run, from its metrics.jsonl, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modules.report.journal import read

_PANELS = (
    ("energy of data and of chains", ("energy_positive", "energy_negative")),
    ("energy gap, data - chains", ("gap",)),
    ("losses", ("loss/energy", "loss/initializer")),
    ("gradient norms before clipping", ("grad_norm/energy", "grad_norm/initializer")),
    ("chain displacement (rms)", ("displacement",)),
    ("sliced Wasserstein distance to data", ("sample_distance", "sample_distance_floor")),
)


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib figure of `width` x `height` inches and its axes (rows, columns), without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height))
    FigureCanvasAgg(fig)
    # margins in inches; matplotlib's own layouts draw everything twice
    fig.subplots_adjust(0.6 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.3 / height, hspace=0.3)
    return fig, fig.subplots(rows, columns, squeeze=False)


def save_curves(journal: Path, path: Path) -> None:
    """Draw what metrics.jsonl holds: overall curves, and thin ones for the levels."""
    rows = read(journal)
    fig, axes = figure(2, 3, width=13, height=7)
    for axis, (title, names) in zip(axes.flat, _PANELS, strict=True):
        for name in names:
            axis.plot(*_series(rows, name), label=name, linewidth=1.5)
        levels = _levels(rows, names[0]) if len(names) == 1 else []
        for t in levels:
            label = f"t = {t}" if len(levels) <= 10 else None
            axis.plot(*_series(rows, f"{names[0]}/{t}"), label=label, linewidth=0.6)
        axis.set(title=title, xlabel="step")
        if "norm" in title:
            axis.set_yscale("log")
        if title == "losses":  # of both signs, and orders of magnitude apart
            axis.set_yscale("symlog", linthresh=0.01)
        axis.legend(fontsize=7, loc="upper right")
    fig.savefig(path, dpi=100)


def _series(rows: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values, where there are any."""
    having = [row for row in rows if name in row]
    return [row["step"] for row in having], [row[name] for row in having]


def _levels(rows: list[dict[str, Any]], name: str) -> list[int]:
    """The t of all figures "name/t"."""
    parts = {tuple(key.rsplit("/", 1)) for row in rows for key in row if "/" in key}
    return sorted(int(last) for head, last in parts if head == name and last.isdigit())
