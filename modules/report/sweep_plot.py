"""The figures of a sweep's points as one picture: a panel a figure, means with their spread, single seeds."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from modules.report.curves import figure
from modules.report.sweep_table import Table, deviation, mean

COLUMNS = 3  # panels in a row
FAR = 50  # positive values this many times apart stand on a logarithmic axis


def save_plot(table: Table, path: Path) -> None:
    """Draw the table.

    Along the panels goes the first axis whose values are all numbers, or else the first; every combination
    of the others is a line. A point is the mean of its seeds, its bar their standard deviation, a dot a seed.
    """
    along = _along(table)
    others = [title for title in table.titles if title != along]
    lines = list(dict.fromkeys(tuple(names[title] for title in others) for names in table.names))
    values = list(dict.fromkeys(names.get(along, "") for names in table.names))
    numbers = [_number(value) for value in values]
    is_numeric = len(values) > 1 and None not in numbers
    places = dict(zip(values, numbers if is_numeric else range(len(values)), strict=True))
    panels = [name for name in table.columns if name != "steps"] or table.columns
    rows = -(-len(panels) // COLUMNS)
    longest = 0 if is_numeric else max(map(len, values))
    fig, axes = figure(
        rows, min(COLUMNS, len(panels)), width=5.0 * min(COLUMNS, len(panels)), height=4.0 * rows
    )
    fig.subplots_adjust(
        hspace=0.35 + 0.02 * longest, wspace=0.25, bottom=(0.6 + 0.07 * longest) / (4.0 * rows)
    )
    for axis, name in itertools.zip_longest(axes.flat, panels):
        if name is None:
            axis.axis("off")
            continue
        for number, line in enumerate(lines):
            # lines beside each other, where places are categories
            shift = 0.0 if is_numeric else 0.5 * ((number + 0.5) / len(lines) - 0.5)
            _draw(axis, table, name, places, along, others, line, shift, is_numeric)
        axis.set_title(name)
        axis.set_xlabel(along)
        if is_numeric:
            positive = [number for number in numbers if number and number > 0]
            if len(positive) == len(numbers) and max(positive) > FAR * min(positive):
                axis.set_xscale("log")
        else:
            turned = {"rotation": 30, "ha": "right"} if longest > 8 else {}
            axis.set_xticks(range(len(values)), values, **turned)
            axis.margins(x=0.1)
        if len(lines) > 1:
            axis.legend(title=", ".join(others), fontsize=7, title_fontsize=7)
    fig.savefig(path, dpi=90)


def _draw(
    axis: Any,
    table: Table,
    name: str,
    places: dict[str, Any],
    along: str,
    others: list[str],
    line: tuple[str, ...],
    shift: float,
    joined: bool,
) -> None:
    """One line of a panel: means with bars, and a dot for each seed."""
    chosen = [
        (places[names.get(along, "")] + shift, figures[name])
        for names, figures in zip(table.names, table.figures, strict=True)
        if tuple(names[title] for title in others) == line and figures[name]
    ]
    chosen.sort(key=lambda point: point[0])
    bars = axis.errorbar(
        [x for x, _ in chosen],
        [mean(values) for _, values in chosen],
        [deviation(values) or 0.0 for _, values in chosen],
        marker="_",
        markersize=12,
        capsize=4,
        linestyle="-" if joined else "none",
        label=", ".join(line) or None,
    )
    colour = bars.lines[0].get_color()
    dots = [(x, value) for x, values in chosen for value in values]
    axis.scatter([x for x, _ in dots], [y for _, y in dots], s=14, alpha=0.6, color=colour)


def _along(table: Table) -> str:
    """The axis that panels go along; "" of a sweep over seeds alone."""
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
