"""The curves of a run, from its metrics.jsonl, as one picture."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from modules.methods.shown import Panel
from modules.report.journal import read

_PANELS = (
    Panel(
        "energy of data and of chains",
        ("energy_positive", "energy_negative"),
        "healthy: both drift together and settle; apart or ever faster: diverging",
    ),
    Panel(
        "energy gap, data - chains", ("gap",), "healthy: small, around 0; growing without bound: diverging"
    ),
    Panel(
        "losses",
        ("loss/*",),
        "healthy: the energy's is noise around 0, the initializer's falls; neither measures samples",
    ),
    Panel(
        "gradient norms before clipping",
        ("grad_norm/*",),
        "healthy: level or falling; a climb of the energy's by orders of magnitude: about to explode",
    ),
    Panel(
        "share of clipped steps",
        ("clipped/*",),
        "healthy: 0, or 1 all along; a rise: gradients have grown since",
    ),
    Panel(
        "chain displacement (rms)",
        ("displacement",),
        "healthy: level, below the data's range of 2; a rise: chains fly off",
    ),
    Panel(
        "chain gradient norm |∇U|",
        ("chain_grad_norm",),
        "healthy: level; a climb at all levels: the energy is steepening",
    ),
    Panel(
        "spectral norms of the energy's raw weights",
        ("spectral_norm_largest/*", "spectral_norm_smallest/*"),
        "healthy: a slow drift",
    ),
    Panel(
        "sliced Wasserstein distance to data",
        ("sample_distance", "sample_distance_floor"),
        "healthy: falls towards the floor (data to data) and stays; a rise: samples get worse",
    ),
)
_STEEP = 100.0  # beyond this energies and displacements are drawn on a logarithmic axis
_APART = 30.0  # the largest loss of a linear axis, in the least


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A matplotlib figure of `width` x `height` inches and its axes (rows, columns), without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height))
    FigureCanvasAgg(fig)
    # margins in inches; matplotlib's own layouts draw everything twice
    fig.subplots_adjust(0.6 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.3 / height, hspace=0.3)
    return fig, fig.subplots(rows, columns, squeeze=False)


def save_curves(journal: Path, path: Path, panels: Sequence[Panel] = ()) -> None:
    """Draw what metrics.jsonl holds: overall curves, thin ones for levels, a line at each rollback.

    Args:
        panels: the method's, after those of every run; figures by level that are in no panel follow, one by
            one. A panel without anything to draw is left out.
    """
    rows = read(journal)
    known = {name for row in rows for name in row}
    drawn = [panel for panel in (*_PANELS, *panels) if known.intersection(_figures(panel, known))]
    shown = {name for panel in drawn for name in panel.figures}
    watched = {head for head, _, level in (name.rpartition("/") for name in known) if level.isdigit()}
    drawn += [Panel(name, (name,)) for name in sorted(watched - shown)]
    _draw(rows, path, drawn)


def _figures(panel: Panel, known: Collection[str]) -> list[str]:
    """Names in a panel; "loss/*" stands for those of all networks."""
    found: list[str] = []
    for name in panel.figures:
        start = name.removesuffix("*")
        found += [name] if start == name else sorted(n for n in known if n.startswith(start))
    return found


def _draw(rows: list[dict[str, Any]], path: Path, panels: list[Panel]) -> None:
    known = {name for row in rows for name in row}
    lines = max(1, -(-len(panels) // 3))
    fig, axes = figure(lines, 3, width=14, height=11 / 3 * lines)
    fig.subplots_adjust(bottom=0.21 / lines, hspace=0.45)
    rollbacks = _rollbacks(rows)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        title, names, peak, apart = panel.title, _figures(panel, known), 0.0, False
        for name in names:
            steps, values = _series(rows, name)
            axis.plot(steps, values, label=name, linewidth=1.5)
            finite = [v for v in values if math.isfinite(v)]
            peak = max([peak, *map(abs, finite)])
            apart = apart or (len(finite) > 0 and max(finite) > _APART * min(finite))
        levels = _levels(rows, names[0]) if len(names) == 1 else []
        for t in levels:
            label = f"t = {t}" if len(levels) <= 10 else None
            axis.plot(*_series(rows, f"{names[0]}/{t}"), label=label, linewidth=0.6)
        for step in rollbacks:
            axis.axvline(step, color="crimson", linewidth=0.8, linestyle=":")
        # places by hand: to find them, matplotlib lays every tick out once more (60% of the time)
        axis.set_title(title, y=1.0)
        axis.xaxis.set_label_coords(0.5, -0.1)
        axis.yaxis.set_label_coords(-0.1, 0.5)
        axis.set_xlabel("\n".join(["step", *textwrap.wrap(panel.healthy, 66)]), fontsize=8)
        steep = peak > _STEEP
        # a logarithmic axis needs something to show
        if ("norm" in title and peak > 0) or ("displacement" in title and steep):
            axis.set_yscale("log")
        if (title == "losses" and apart) or ("energy" in title and steep and "norm" not in title):
            # of both signs, or orders of magnitude apart
            axis.set_yscale("symlog", linthresh=0.01 if title == "losses" else 1.0)
            axis.yaxis.get_major_locator().set_params(numticks=8)
        if names:
            axis.legend(fontsize=7, loc="upper left")
    fig.savefig(path, dpi=80)


def _rollbacks(rows: list[dict[str, Any]]) -> list[int]:
    """The first steps that were logged after a rollback."""
    steps, counts = _series(rows, "rollbacks")
    before = [0, *counts]
    return [step for n, step in enumerate(steps) if counts[n] > before[n]]


def _series(rows: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values, where there are any."""
    having = [row for row in rows if isinstance(row.get(name), (int, float))]  # a damaged file has others
    return [row["step"] for row in having], [row[name] for row in having]


def _levels(rows: list[dict[str, Any]], name: str) -> list[int]:
    """The t of all figures "name/t"."""
    parts = {tuple(key.rsplit("/", 1)) for row in rows for key in row if "/" in key}
    return sorted(int(last) for head, last in parts if head == name and last.isdigit())
