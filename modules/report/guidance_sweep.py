"""What was measured at several scales of guidance: as a table, and as curves against the scale."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from modules.report.curves import figure
from modules.report.measured import Measured


def save_table(swept: Mapping[float, Measured], path: Path) -> None:
    """Write a CSV: a row a scale w, a column a value and, over repetitions, one its standard deviation."""
    first = next(iter(swept.values()))
    columns = [(name, part) for name in first.values for part in ("", *(["sd"] if first.spread else []))]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["guidance", *(f"{name}_{part}" if part else name for name, part in columns)])
        for scale, found in swept.items():
            table.writerow(
                [scale, *((found.spread if part else found.values)[name] for name, part in columns)]
            )


def save_curves(swept: Mapping[float, Measured], chief: list[str], path: Path) -> None:
    """Draw the chief values against w, with the standard deviations over repetitions; real data dashed."""
    scales = sorted(swept)
    fig, axes = figure(1, len(chief), width=3.6 * len(chief) + 0.6, height=3.4)
    fig.subplots_adjust(wspace=0.28, top=0.88, bottom=0.16)
    for axis, name in zip(axes.flat, chief, strict=True):
        values = [swept[w].values[name] for w in scales]
        spread = [swept[w].spread.get(name, 0.0) for w in scales]
        axis.errorbar(scales, values, yerr=spread if any(spread) else None, marker=".", capsize=3)
        real = swept[scales[0]].values.get(f"{name}_real")
        if real is not None:
            axis.axhline(real, linestyle="--", linewidth=1, color="grey")
        axis.set(title=name, xlabel="guidance scale w")
    fig.savefig(path, dpi=110)


def text(swept: Mapping[float, Measured]) -> str:
    """A line a scale, a column a value; notes below."""
    names = list(next(iter(swept.values())).values)
    width = max(12, *(len(name) + 2 for name in names))
    lines = [f"{'guidance':<10}" + "".join(f"{name:>{width}}" for name in names)]
    for scale, found in swept.items():
        lines.append(f"{scale:<10g}" + "".join(f"{found.values[name]:>{width}.5g}" for name in names))
    notes: dict[str, str] = {}
    for found in swept.values():
        notes |= found.notes
    return "\n".join([*lines, *(f"  {name}: {note}" for name, note in notes.items())])
