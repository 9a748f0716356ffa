"""What a run was trained on, kept from its first start: how many examples, which classes, and a fingerprint.

The configuration says where the data lie, not what lies there. Without a record, renamed folders make class 0
another class, and deleted files go unnoticed.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modules.core.checks import CheckpointError, DataError
from modules.data.base import Data, Examples
from modules.data.order import by_number
from modules.report.protocol import described
from modules.storage import durable
from modules.storage.manifest import read_json

DATA = "data.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataRecord:
    """What is known again.

    Attributes:
        settings: the data set's class and arguments.
        count: of the examples. class_names: one a class, in the order of their numbers.
        fingerprint: see Examples.
    """

    settings: Any
    count: int
    class_names: list[str]
    fingerprint: str

    @classmethod
    def of(cls, data: Data, examples: Examples) -> DataRecord:
        """That of an opened set. Raises DataError: a file that cannot be read."""
        settings = json.loads(json.dumps(described(data)))
        return cls(settings, len(examples), list(examples.class_names), examples.fingerprint)

    @classmethod
    def read(cls, run: Path) -> DataRecord | None:
        """The one that a run's folder holds; None: the run is from before there were any.

        Raises:
            CheckpointError: a file that holds something else.
        """
        file = run / DATA
        if not os.path.lexists(file):
            return None
        found = read_json(file)
        kinds = {"count": int, "class_names": list, "fingerprint": str}
        if not all(isinstance(found.get(key), kind) for key, kind in kinds.items()) or not all(
            isinstance(name, str) for name in found["class_names"]
        ):
            raise CheckpointError(f"{file} must hold a count, class_names and a fingerprint")
        return cls(found.get("settings"), found["count"], found["class_names"], found["fingerprint"])

    def write(self, run: Path) -> None:
        """Keep it in a run's folder. Raises OSError."""
        durable.replace_file(run / DATA, json.dumps(asdict(self), indent=1) + "\n")

    def differences(self, now: DataRecord) -> str:
        """How other data differ from these, in words; empty: they don't."""
        found = []
        if self.count != now.count:
            found.append(f"{self.count:,} examples then, {now.count:,} now")
        before, after = self.class_names, now.class_names
        if len(before) != len(after):
            found.append(f"{len(before)} classes then, {len(after)} now")
        else:
            pairs = zip(before, after, strict=True)
            changed = [f"class {i} was {b!r} and is {a!r}" for i, (b, a) in enumerate(pairs) if a != b]
            found += changed[:3] + ([f"{len(changed) - 3} more classes changed"] if len(changed) > 3 else [])
        if not found and self.fingerprint != now.fingerprint:
            found.append("as many examples, but others, or others of their labels")
        return "; ".join(found)


def check_data(run: Path, recorded: DataRecord | None, now: DataRecord, allow_changes: bool) -> None:
    """Make sure that data are those a run was trained on.

    Differences are logged where they are allowed, or where other settings say that other data are meant.

    Raises:
        DataError: they are others.
    """
    if recorded is None:
        _check_order(run, now.class_names, allow_changes)
        return
    changes = recorded.differences(now)
    if not changes:
        return
    what = f"the data are not those that {run} was trained on ({changes})"
    if not allow_changes and recorded.settings == now.settings:
        raise DataError(f"{what}: bring the old ones back, or add --allow-changes to go on all the same")
    _say(what)


def _check_order(run: Path, names: list[str], allow_changes: bool) -> None:
    """Of a run without a record: its classes may have been numbered in the order of text."""
    _say(f"{run} has no {DATA}, by which its data would be known again")
    if is_order_unsure(names) and not allow_changes:
        changed = next(i for i, name in enumerate(sorted(names)) if name != names[i])
        raise DataError(
            f"{run} is from before names of classes were sorted by their numbers: class {changed} may have "
            f"been {sorted(names)[changed]!r} and is {names[changed]!r} now; add --allow-changes if it wasn't"
        )


def is_order_unsure(names: list[str]) -> bool:
    """Whether classes had other numbers where their names were sorted as text."""
    return names != sorted(names) and names == sorted(names, key=by_number)


def told(data: Data, examples: Examples) -> str:
    """What a start says of its data, with what is left out."""
    kind = "images" if len(examples.shape) == 3 else "points"
    count = len(examples.class_names)
    classes = f"in {count:,} {'class' if count == 1 else 'classes'}" if count else "without labels"
    lines = [f"{len(examples):,} {kind} {classes} from {data.where}"]
    left_out = examples.left_out
    lines += [f"left out: {line}" for line in left_out[:8]]
    if len(left_out) > 8:
        lines.append(f"left out: {len(left_out) - 8:,} more, which --task verify --data lists")
    return "\n".join(lines)


def _say(line: str) -> None:
    """A line of the main process."""
    if os.environ.get("RANK", "0") == "0":
        _log.warning("%s", line)
