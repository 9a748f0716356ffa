"""A step that diverged, and what is kept of it: one small JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(eq=False)
class Divergence(Exception):
    """A step that all processes gave up before its optimizers: weights, averages, optimizers are unchanged.

    Attributes:
        step: 0, 1, ...; reason: what was found, in a few words.
        losses, grad_norms: by network; losses is the list of every micro-batch's.
        rows: of each row of the global batch its number, its t and what is watched.
        num_rollbacks: before this step.
    """

    step: int
    reason: str
    losses: dict[str, list[float]]
    grad_norms: dict[str, float]
    rows: list[dict[str, float]]
    num_rollbacks: int


def path_of(run: Path, fault: Divergence) -> Path:
    """diagnostics/step_N.json, N as steps are counted in the journal; after a rollback with its number."""
    attempt = f"_rollback_{fault.num_rollbacks}" if fault.num_rollbacks else ""
    return run / "diagnostics" / f"step_{fault.step + 1:08d}{attempt}.json"


def save(path: Path, fault: Divergence, indices: Sequence[int], action: str) -> None:
    """Write it.

    Args:
        indices: of the data set's examples that are the rows of the batch.
        action: what was done about it.
    """
    rows = [{"index": indices[int(row["row"])], **row} for row in sorted(fault.rows, key=lambda r: r["row"])]
    found = {
        "step": fault.step + 1,
        "reason": fault.reason,
        "action": action,
        "losses": fault.losses,
        "grad_norms": fault.grad_norms,
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps(_plain({k: v for k, v in found.items() if k != "rows"}), indent=1)[:-2]
    lines = ",\n  ".join(json.dumps(_plain(row)) for row in rows)
    path.write_text(f'{head},\n "rows": [\n  {lines}\n ]\n}}\n')


def _plain(value: Any) -> Any:
    """With floats of 7 digits, and as words those that JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else str(value)
    return value
