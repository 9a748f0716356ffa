"""The figures of a sweep's points as one picture: a panel a figure, means with their spread, single seeds."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from modules.report.curves import figure
from modules.report.sweep_table import Table, deviation, mean

COLUMNS = 4  # panels in a row
WIDTH, HEIGHT = 4.0, 3.6  # inches of a panel
FAR = 50  # positive values this many times apart stand on a logarithmic axis


def save_plot(table: Table, path: Path) -> None:
    """Draw the table.

    The first axis whose values are all numbers goes along the panels; where there is none, the first axis
    goes down them, with its names at the left. Every combination of the other axes is a line. A bar is the
    mean and the standard deviation of a point's seeds, a dot a seed.
    """
    along = _along(table)
    others = [title for title in table.titles if title != along]
    values = list(dict.fromkeys(names.get(along, "") for names in table.names))
    numbers = [number for number in map(_number, values) if number is not None]
    is_numeric = len(values) == len(numbers) > 1
    places = dict(zip(values, numbers if is_numeric else map(float, range(len(values))), strict=True))
    lines = list(dict.fromkeys(tuple(names[title] for title in others) for names in table.names))
    panels = [name for name in table.columns if name != "steps"] or table.columns

    rows, columns = -(-len(panels) // COLUMNS), min(COLUMNS, len(panels))
    left = 0.6 if is_numeric else 0.4 + 0.085 * max(map(len, values))
    tall = HEIGHT if is_numeric else 1.2 + 0.3 * len(values) * max(1.0, 0.5 * len(lines))
    width, height = left + WIDTH * columns, tall * rows
    fig, axes = figure(rows, columns, width, height)
    fig.subplots_adjust(left / width, 0.6 / height, wspace=0.25, hspace=0.9 / (tall - 0.9))
    for number, (axis, name) in enumerate(itertools.zip_longest(axes.flat, panels)):
        if name is None:
            axis.axis("off")
            continue
        for of_line, line in enumerate(lines):
            # categories' lines stand beside each other
            shift = 0.0 if is_numeric else 0.6 * ((of_line + 0.5) / len(lines) - 0.5)
            points = [
                (places[names.get(along, "")] + shift, figures[name])
                for names, figures in zip(table.names, table.figures, strict=True)
                if tuple(names[title] for title in others) == line and figures[name]
            ]
            _draw(axis, sorted(points), ", ".join(line), is_numeric)
        axis.set_title(name)
        if is_numeric:
            axis.set_xlabel(along)
            positive = [place for place in places.values() if place > 0]
            if len(positive) == len(places) and max(positive) > FAR * min(positive):
                axis.set_xscale("log")
        else:
            axis.set_ylim(len(values) - 0.5, -0.5)
            axis.set_yticks(range(len(values)), values if number % columns == 0 else [""] * len(values))
            axis.grid(axis="y", linewidth=0.3)
        if len(lines) > 1 and number == 0:
            axis.legend(title=", ".join(others), fontsize=7, title_fontsize=7)
    fig.savefig(path, dpi=90)


def _draw(axis: Any, points: list[tuple[float, list[float]]], label: str, is_numeric: bool) -> None:
    """A line of a panel: (place, a value a seed) of its points, which numbers join and categories don't."""
    where = [place for place, _ in points]
    means = [mean(values) for _, values in points]
    spread = [deviation(values) or 0.0 for _, values in points]
    dots = [(place, value) for place, values in points for value in values]
    style = {"capsize": 3, "markersize": 9, "label": label or None}
    if is_numeric:
        bars = axis.errorbar(where, means, yerr=spread, marker="_", linestyle="-", linewidth=1, **style)
    else:
        bars = axis.errorbar(means, where, xerr=spread, marker="|", linestyle="none", **style)
        dots = [(value, place) for place, value in dots]
    axis.scatter([x for x, _ in dots], [y for _, y in dots], s=12, alpha=0.5, color=bars.lines[0].get_color())


def _along(table: Table) -> str:
    """The axis that a panel goes along; "" of a sweep over seeds alone."""
    for title in table.titles:
        values = {names[title] for names in table.names}
        if len(values) > 1 and all(_number(value) is not None for value in values):
            return title
    return table.titles[0] if table.titles else ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
