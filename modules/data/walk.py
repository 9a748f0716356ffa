"""Every file below a folder, as the user has it there: what is not used is at least known."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_COMPANION = re.compile(
    r"(readme|licen[cs]e)([._-].*)?|(dataset_infos?|dataset_dict|state)\.json|thumbs\.db|desktop\.ini",
    re.IGNORECASE,
)
_LISTED = 8  # in a summary


@dataclass(frozen=True)
class LeftOut:
    """A file, or a folder, that is no part of a data set although it lies in its folder.

    Attributes:
        path: relative to the source. reason: why, to be read after the path.
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.path)} ({self.reason})"


def shown(path: Path) -> str:
    """A path for a message: bytes that are no text are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def summary(left_out: Sequence[LeftOut]) -> str:
    """The number left out, and the first of them by name."""
    listed = ", ".join(map(str, left_out[:_LISTED]))
    more = f" and {len(left_out) - _LISTED:,} more" if len(left_out) > _LISTED else ""
    return f"left out {len(left_out):,}: {listed}{more}"


def files_below(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """The files below a folder relative to it, in the order of their paths' text; links are followed.

    Returns:
        the files, and what can be neither read nor entered.
    """
    files: list[Path] = []
    lost: list[LeftOut] = []
    waiting = [(Path(), frozenset({_identity(folder)}))]
    while waiting:
        place, above = waiting.pop()
        try:
            entries = list(os.scandir(folder / place))
        except OSError as fault:
            lost.append(LeftOut(place, f"it cannot be read: {fault.strerror}"))
            continue
        for entry in entries:
            path = place / entry.name
            if not _is_text(entry.name):
                lost.append(LeftOut(path, "its name is not UTF-8"))
            elif entry.is_dir():
                identity = _identity(folder / path)
                if identity in above:
                    lost.append(LeftOut(path, "a link to a folder that it lies in"))
                else:
                    waiting.append((path, above | {identity}))
            elif entry.is_file():
                files.append(path)
            else:
                lost.append(LeftOut(path, "a link to nothing" if entry.is_symlink() else "no plain file"))
    return sorted(files, key=Path.as_posix), sorted(lost, key=lambda left: shown(left.path))


def unused(files: Sequence[Path], reason: str, is_wanted: Callable[[Path], bool]) -> list[LeftOut]:
    """Files that a set makes no use of, less those that nobody expects in it.

    Args:
        files: relative to the source.
        reason: of the files with plain names.
        is_wanted: whether a hidden file would be a part of the set under a plain name.
    """
    found = []
    for path in files:
        if is_hidden(path):
            if is_wanted(path):
                found.append(LeftOut(path, "hidden: a name in its path begins with a dot"))
        elif not _COMPANION.fullmatch(path.name):
            found.append(LeftOut(path, reason))
    return found


def is_hidden(path: Path) -> bool:
    """Whether a name in a relative path begins with a dot."""
    return any(part.startswith(".") for part in path.parts)


def _identity(folder: Path) -> tuple[int, int]:
    about = folder.stat()
    return about.st_dev, about.st_ino


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
