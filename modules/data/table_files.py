"""Parquet and arrow files of a folder: which of them make up a split, and what is missing or unused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from modules.core.checks import DataError
from modules.data.metadata import NAMES
from modules.data.splits import SPLITS, split_named
from modules.data.walk import LeftOut, is_hidden, unused

BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}
"""Ending -> what reads it."""

_SHARD = re.compile(r"(?P<name>.*)-(?P<number>\d+)-of-(?P<count>\d+)(?P<rest>-\w+)?")


def is_table(file: Path) -> bool:
    """Whether a file's ending is of a table; one that lists pictures beside it is none."""
    return file.suffix.lower() in BUILDERS and file.name not in NAMES


def split_of(file: Path) -> str | None:
    """The split that a file's name up to the first "-", or else its folder's name tells, if any."""
    names = (re.split(r"[-_.]", file.stem)[0], file.parent.name)
    return next((name for name in names if name in SPLITS), None)


def files_of_split(source: Path, files: Sequence[Path], split: str) -> tuple[list[Path], list[LeftOut]]:
    """The tables of one split of one kind, and what is left out.

    Args:
        source: the folder. files: all that lie in it, relative to it, a table among them.
    Raises:
        DataError: unknown split, or one that several folders hold.
    """
    plain = [file for file in files if is_table(file) and not is_hidden(file)]
    # of one kind: a cache of arrow files may lie beside the parquet files that it was made of
    suffix = min((file.suffix.lower() for file in plain), key=list(BUILDERS).index)
    tables = [file for file in plain if file.suffix.lower() == suffix]
    splits = _by_split(source, tables)
    named = sorted(splits) if any(map(split_of, tables)) else []
    chosen = splits[split_named(source, split, named)]
    left_out = unused([file for file in files if file not in tables], "no table of the set", is_table)
    strange = [file for name in named if name not in (*SPLITS, split) for file in splits[name]]
    left_out += [LeftOut(file, "its name tells no split, as others' do") for file in strange]
    return chosen, left_out + _missing(chosen)


def _by_split(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each split."""
    named = any(split_of(file) for file in files)
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault((split_of(file) or file.stem) if named else "train", []).append(file)
    for split, members in found.items():
        places = {file.parent for file in members}
        if len(places) > 1:
            listed = ", ".join(sorted(str(folder / place) for place in places))
            raise DataError(f"{folder} holds several sets with a split {split!r}: give one of {listed}")
    return found


def _missing(files: Sequence[Path]) -> list[LeftOut]:
    """The shards of NAME-I-of-N that aren't there."""
    there: dict[tuple[str, str, int], set[int]] = {}
    for file in files:
        if match := _SHARD.fullmatch(file.stem):
            key = (match["name"], match["count"], len(match["number"]))
            there.setdefault(key, set()).add(int(match["number"]))
    missing = []
    for (name, count, width), numbers in there.items():
        for number in sorted(set(range(min(int(count), 10**5))) - numbers):
            path = files[0].with_name(f"{name}-{number:0{width}}-of-{count}{files[0].suffix}")
            missing.append(LeftOut(path, "missing: its name is one of the numbered parts of the set"))
    return missing
