"""What the runs of a sweep measured, a row a point: mean and standard deviation over its seeds."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.core.checks import ConfigurationError, nearest
from modules.report.journal import measured, read

ALWAYS = ("sample_distance", "steps", "seconds")
_AFTER = re.compile(r"(?P<step>step_\d{8}_)?(?P<rest>(?!step_\d{8}$).+)")  # not of training's own evaluations


@dataclass(frozen=True)
class Row:
    """A point: its names by axis, and the folders of its finished runs."""

    names: dict[str, str]
    runs: Sequence[Path]


@dataclass(frozen=True)
class Table:
    """The figures of all points.

    Attributes:
        titles: of the axes. columns: of the figures.
        names: of each point by axis. figures: of each point and column, a value a finished run that has it.
        seeds: of each point, how many runs are finished. notes: what is to be said of a column's values.
    """

    titles: list[str]
    columns: list[str]
    names: list[dict[str, str]]
    figures: list[dict[str, list[float]]]
    seeds: list[int]
    notes: dict[str, str]

    def csv(self) -> str:
        """Comma-separated: axes, seeds, then a column's mean and, as NAME_sd, its standard deviation."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*self.titles, "seeds", *(f"{c}{end}" for c in self.columns for end in ("", "_sd"))])
        for names, figures, seeds in zip(self.names, self.figures, self.seeds, strict=True):
            cells: list[Any] = [names[title] for title in self.titles] + [seeds]
            for column in self.columns:
                average, spread = mean(figures[column]), deviation(figures[column])
                cells += ["" if x is None else f"{x:.7g}" for x in (average, spread)]
            writer.writerow(cells)
        return file.getvalue()

    def markdown(self) -> str:
        """The same as a table of Markdown, a cell "mean ± standard deviation"; what is to be noted below."""
        head = [*self.titles, "seeds", *self.columns]
        rows = [head, ["---"] * len(head)]
        for names, figures, seeds in zip(self.names, self.figures, self.seeds, strict=True):
            cells = [_cell(figures[column], seeds) for column in self.columns]
            rows.append([*(names[title] for title in self.titles), str(seeds), *cells])
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        notes = [f"{name}: {note}." for name, note in self.notes.items()]
        below = "Mean ± standard deviation over seeds, with n - 1 in its denominator."
        return "\n".join([*lines, "", " ".join([below, *notes])]) + "\n"


def table(rows: Sequence[Row], columns: Sequence[str] = ()) -> Table:
    """The table of points; at least one run must be finished.

    Args:
        columns: names as `final` gives them; none: what training's evaluations measured, and ALWAYS.

    Raises:
        ConfigurationError: a column that no run has.
    """
    found = {run: final(run) for row in rows for run in row.runs}
    known = dict.fromkeys(name for figures, _ in found.values() for name in figures)
    chief = dict.fromkeys(name for _, names in found.values() for name in names)
    for name in columns:
        if name not in known:
            raise _no_figure(name, list(known))
    chosen = list(columns) or [n for n in (*chief, *ALWAYS) if n in known]
    notes: dict[str, str] = {}
    for run, (figures, _) in found.items():
        notes |= {name: note for name, note in _notes(run, figures).items() if name in chosen}
    return Table(
        titles=list(rows[0].names),
        columns=chosen,
        names=[row.names for row in rows],
        figures=[
            {name: [found[run][0][name] for run in row.runs if name in found[run][0]] for name in chosen}
            for row in rows
        ],
        seeds=[len(row.runs) for row in rows],
        notes=notes,
    )


def final(run: Path) -> tuple[dict[str, float], list[str]]:
    """The last value of each figure that a run measured, and the names of the chief ones.

    Those of metrics.jsonl by their names, with "steps" and "seconds"; those of evaluations made of its last
    step afterwards as FILE:NAME, of evaluations/step_00001000_fid_n2000_seed0.json as fid_n2000_seed0:fid. A
    file without a step in its name counts unless its protocol names another one.
    """
    journal = run / "metrics.jsonl"
    rows = read(journal) if journal.exists() else []
    figures: dict[str, float] = {}
    for row in rows:
        figures |= {name: value for name, value in row.items() if isinstance(value, (int, float))}
    if figures:
        figures["steps"] = figures.pop("step")
        figures["seconds"] = max(row.get("seconds", 0.0) for row in rows)
    figures |= {name: entry["value"] for name, entry in _afterwards(run, figures)}
    return figures, measured(rows)


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation, √(Σ(x - mean)²/(n - 1)); None of fewer than two."""
    average = mean(values)
    if average is None or len(values) < 2:
        return None
    return math.sqrt(math.fsum((x - average) ** 2 for x in values) / (len(values) - 1))


def rounded(average: float, spread: float | None) -> str:
    """A mean and its spread, to the spread's second digit; without one to four digits."""
    if spread is None or not math.isfinite(average) or not math.isfinite(spread):
        return f"{average:.4g}"
    if spread == 0:
        return f"{average:.6g} ± 0"
    places = max(0, 1 - math.floor(math.log10(spread)))
    return f"{average:.{places}f} ± {spread:.{places}f}"


def _no_figure(name: str, known: Sequence[str]) -> ConfigurationError:
    shown = ", ".join(sorted(n for n in known if "/" not in n))
    figures = "They have none at all"
    if shown:
        figures = f"Figures: {shown}, and those by level and network of metrics.jsonl"
    hint = nearest(name, known)
    if ":" in name and not hint:  # FILE:NAME
        hint = " Evaluations made afterwards have one once --task evaluate has run."
    return ConfigurationError(f"--columns: no run has a figure {name!r}.{hint} {figures}")


def _cell(values: Sequence[float], seeds: int) -> str:
    average = mean(values)
    if average is None:
        return ""
    text = rounded(average, deviation(values))
    return text if len(values) == seeds else f"{text} (of {len(values)})"


def _notes(run: Path, figures: dict[str, float]) -> dict[str, str]:
    """What a run's evaluations say of their values, such as that N is small, by the names of `final`."""
    files = [p for p in sorted((run / "evaluations").glob("*.json")) if not _AFTER.fullmatch(p.stem)]
    values = _evaluation(files[-1])[0] if files else {}
    entries = [*values.items(), *_afterwards(run, figures)]
    return {name: entry["note"] for name, entry in entries if "note" in entry}


def _afterwards(run: Path, figures: dict[str, float]) -> Iterator[tuple[str, dict[str, Any]]]:
    """FILE:NAME and entry of each value that was measured of the last step when training was done."""
    step = int(figures.get("steps", 0))
    for path in sorted((run / "evaluations").glob("*.json")):
        name = _AFTER.fullmatch(path.stem)
        if not name or name["step"] not in (None, f"step_{step:08d}_"):
            continue
        values, measured_step = _evaluation(path)
        if measured_step in (None, step):  # the run may have gone on since
            yield from ((f"{name['rest']}:{value}", entry) for value, entry in values.items())


def _evaluation(path: Path) -> tuple[dict[str, dict[str, Any]], int | None]:
    """The values of an evaluation's file, none of one that is damaged, and the step that it names."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        values = {
            name: entry for name, entry in saved["values"].items() if isinstance(entry["value"], (int, float))
        }
        return values, saved.get("protocol", {}).get("step")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, None
