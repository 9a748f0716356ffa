"""Values with the protocol they were measured by, as text and as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NORMAL_95 = 1.959964  # standard deviations on either side that hold 95% of a normal distribution


@dataclass(frozen=True)
class Measured:
    """The outcome of one evaluation.

    Attributes:
        values: by name.
        protocol: how they were measured.
        notes: what must be said with a value, by its name.
        spread: standard deviations over repetitions with other seeds, by name.
        errors: standard errors by resampling, by name.
    """

    values: dict[str, float]
    protocol: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)

    def interval(self, name: str) -> tuple[float, float]:
        """95% of a value that has an error, taken for normal."""
        value, reach = self.values[name], NORMAL_95 * self.errors[name]
        return value - reach, value + reach

    def text(self) -> str:
        """A line a value, then a line an entry of the protocol."""
        lines = []
        for name, value in self.values.items():
            spread = f" ± {self.spread[name]:.4g}" if name in self.spread else ""
            note = f"  ({self.notes[name]})" if name in self.notes else ""
            error = ""
            if name in self.errors:
                low, high = self.interval(name)
                error = f"  standard error {self.errors[name]:.3g}, 95% {low:.5g} to {high:.5g}"
            lines.append(f"{name:<22}{value:>12.5g}{spread}{error}{note}")
        lines += [f"  {name}: {_plain(value)}" for name, value in self.protocol.items()]
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Save all of it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {
            name: {
                "value": value,
                **({"sd": self.spread[name]} if name in self.spread else {}),
                **(
                    {"standard_error": self.errors[name], "interval_95": list(self.interval(name))}
                    if name in self.errors
                    else {}
                ),
                **({"note": self.notes[name]} if name in self.notes else {}),
            }
            for name, value in self.values.items()
        }
        path.write_text(json.dumps({"values": values, "protocol": self.protocol}, indent=1) + "\n")


def averaged(repetitions: Sequence[Measured]) -> Measured:
    """The means over repetitions, and the standard deviations; the seeds take the seed's place.

    A mean's standard error is that of independent values.
    """
    first = repetitions[0]
    if len(repetitions) == 1:
        return first
    n = len(repetitions)
    means = {name: sum(m.values[name] for m in repetitions) / n for name in first.values}
    spread = {
        name: (sum((m.values[name] - mean) ** 2 for m in repetitions) / (n - 1)) ** 0.5
        for name, mean in means.items()
    }
    protocol = {**first.protocol, "seed": [m.protocol["seed"] for m in repetitions]}
    errors = {
        name: sum(m.errors[name] ** 2 for m in repetitions) ** 0.5 / n
        for name in first.errors
        if all(name in m.errors for m in repetitions)
    }
    return Measured(means, protocol, first.notes, spread, errors)


def _plain(value: Any) -> str:
    """An entry of the protocol in one line."""
    if isinstance(value, Mapping):
        head = str(value["class"]) if "class" in value else ""
        inside = ", ".join(f"{k} {_plain(v)}" for k, v in value.items() if k != "class")
        return f"{head}({inside})" if head else inside
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return "none" if value is None else str(value)
