"""What a command writes into a folder, and the record by which it knows its own files again.

A file belongs to the command that wrote it, options included, for as long as its bytes are those written.
Nothing else is ever replaced, and nothing deleted but what a command that failed has written itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from modules.core.checks import ConfigurationError
from modules.storage import durable

RECORDS = ".written"
"""In each folder: a file for each command, with the hashes of what it wrote."""


class Outputs:
    """The files that a command is about to write.

    Args:
        folder: where; made by `begin`.
        by: the command with all options that its results depend on, as one text.
        names: of the files, relative to the folder.

    Raises:
        ConfigurationError: one of them is there and isn't this command's.
    """

    def __init__(self, folder: Path, by: str, names: Sequence[str]) -> None:
        self.folder, self.by, self.names, self._begun = folder, by, tuple(names), False
        self._record = folder / RECORDS / f"{hashlib.sha256(by.encode()).hexdigest()[:16]}.json"
        known = _read(self._record)
        for name in self.names:
            if os.path.lexists(folder / name) and not _is_ours(folder / name, known, name):
                raise ConfigurationError(
                    f"{folder / name} {self._whose(name, known)}: name another --output, or move it"
                )

    def begin(self) -> None:
        """Make the folder, once, and note what is being written: whatever stops it, its files are known."""
        if not self._begun:
            self._note(dict.fromkeys(self.names))
            self._begun = True

    def end(self) -> None:
        """Note what was written."""
        there = [name for name in self.names if (self.folder / name).is_file()]
        self._note({name: durable.hash_file(self.folder / name) for name in there})

    def withdraw(self) -> None:
        """Delete what was written so far."""
        for name in self.names:
            (self.folder / name).unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)
        for place in {self._record.parent, *((self.folder / name).parent for name in self.names)}:
            if place != self.folder and place.is_dir() and not any(place.iterdir()):
                place.rmdir()

    def _note(self, files: Mapping[str, str | None]) -> None:
        for place in {self._record.parent, *((self.folder / name).parent for name in self.names)}:
            place.mkdir(parents=True, exist_ok=True)
        noted = {"by": self.by, "files": {**_read(self._record), **files}}
        durable.replace_file(self._record, json.dumps(noted, indent=1) + "\n")

    def _whose(self, name: str, known: dict[str, str | None]) -> str:
        if name in known:
            return "has changed since this command wrote it"
        for record in (self.folder / RECORDS).glob("*.json"):
            if name in _read(record):
                return "was written by a command with other options"
        return "was not written by this command"


def _read(record: Path) -> dict[str, str | None]:
    """Names -> hashes of a record; nothing of what is none."""
    try:
        files = json.loads(record.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return files if isinstance(files, dict) else {}


def _is_ours(path: Path, known: dict[str, str | None], name: str) -> bool:
    """Whether a file that is there has the bytes that were noted; None: it was being written."""
    if name not in known or path.is_symlink() or not path.is_file():
        return False
    return known[name] is None or known[name] == durable.hash_file(path)
