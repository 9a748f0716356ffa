"""The record of a run's numbers: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.storage import durable


class Journal:
    """Appends rows to metrics.jsonl; rows after a resumed step are dropped first."""

    def __init__(self, path: Path, first_step: int = 0) -> None:
        self.path = path
        kept = [row for row in read(path) if row["step"] <= first_step] if path.exists() else []
        durable.replace_file(path, "".join(json.dumps(row) + "\n" for row in kept))
        self.seconds_before = max((row.get("seconds", 0.0) for row in kept), default=0.0)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        with self.path.open("a") as file:
            file.write(json.dumps({k: _plain(v) for k, v in row.items()}) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All complete rows."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a run that was killed while writing it
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def measured(rows: list[dict[str, Any]]) -> list[str]:
    """Names of the chief values that evaluations wrote, without those of the data and of single modes."""
    found = [name for row in rows if "evaluation_seconds" in row for name in row]
    return [
        name
        for name in dict.fromkeys(found)
        if name not in ("step", "seconds", "evaluation_seconds")
        and not name.startswith("mode_")
        and not name.endswith("_real")
    ]


def _plain(value: Any) -> Any:
    return float(f"{value:.7g}") if isinstance(value, float) else value
