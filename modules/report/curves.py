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
    ("sliced Wasserstein distance of samples to data", ("sample_distance", "sample_distance_floor")),
)


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib figure and its axes (rows, columns), drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, squeeze=False)


def save_curves(journal: Path, path: Path) -> None:
    """Draw what metrics.jsonl holds: overall curves, and thin ones for the levels."""
    rows = read(journal)
    fig, axes = figure(2, 3, width=13, height=7)
    for axis, (title, names) in zip(axes.flat, _PANELS, strict=True):
        for name in names:
            series = [(row["step"], row[name]) for row in rows if name in row]
            if series:
                axis.plot(*zip(*series, strict=True), label=name, linewidth=1.5)
        for name in sorted({key for row in rows for key in row if key.rsplit("/", 1)[0] == names[0]}):
            if name not in names and name.rsplit("/", 1)[-1].isdigit() and len(names) == 1:
                series = [(row["step"], row[name]) for row in rows if name in row]
                axis.plot(*zip(*series, strict=True), label=f"t = {name.rsplit('/', 1)[-1]}", linewidth=0.6)
        axis.set(title=title, xlabel="step")
        if "norm" in title:
            axis.set_yscale("log")
        if axis.lines:
            axis.legend(fontsize=7)
    fig.savefig(path, dpi=100)
