"""metadata.csv, .jsonl and .parquet beside pictures: a row for each, with the columns of the table."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.core.checks import DataError
from modules.data.walk import LeftOut, is_hidden

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE = "file_name"


def with_metadata(
    source: Path, files: Sequence[Path], pictures: Sequence[Path], root: Path
) -> tuple[list[Path], pa.Table, list[LeftOut]] | None:
    """The pictures that metadata list, and the columns of their rows.

    A picture's metadata lie in its folder, or else in the nearest folder above it that has some.

    Args:
        source: the folder that all paths are relative to.
        files: all that lie in it. pictures: those that are wanted, below `root`.
    Returns:
        the pictures with a row, their columns, and what is left out: pictures without a row, rows without
        a file. None: no metadata are there.
    Raises:
        DataError: what cannot be read, or lists a file twice; two kinds of metadata in one folder.
    """
    import pyarrow as pa

    places: dict[Path, Path] = {}
    for file in files:
        if file.name in NAMES and not is_hidden(file) and _is_of(file.parent, root):
            if file.parent in places:
                raise DataError(f"{source / file.parent} has two files of metadata: keep one of them")
            places[file.parent] = file
    if not places:
        return None
    tables = {file: _read(source, file) for file in places.values()}
    rows: dict[Path, dict[Path, int]] = {file: _rows(file, table, source) for file, table in tables.items()}
    kept: list[tuple[Path, Path]] = []  # the picture, and its file of metadata
    left_out: list[LeftOut] = []
    for picture in pictures:
        own = next((places[folder] for folder in picture.parents if folder in places), None)
        if own is None or picture not in rows[own]:
            names = [file.as_posix() for file in (places.values() if own is None else [own])]
            left_out.append(LeftOut(picture, f"not listed by {', '.join(names)}"))
        else:
            kept.append((picture, own))
    present = set(files)
    for file, listed in rows.items():
        missing = [path for path in listed if path not in present and root in (Path(), *path.parents)]
        left_out += [LeftOut(path, f"listed by {file.as_posix()}, but not there") for path in missing]
    first = dict(zip(tables, accumulate(map(len, tables.values()), initial=0), strict=False))
    parts = [table.drop_columns([_FILE]) for table in tables.values()]
    try:
        columns = pa.concat_tables(parts, promote_options="default")
    except pa.ArrowInvalid as fault:
        listed_files = ", ".join(file.as_posix() for file in tables)
        raise DataError(f"{source}: {listed_files} have different columns: give them the same") from fault
    taken = pa.array([first[own] + rows[own][picture] for picture, own in kept], pa.int64())
    return [picture for picture, _ in kept], columns.take(taken), left_out


def _is_of(folder: Path, root: Path) -> bool:
    """Whether metadata of a folder may speak of pictures below the root."""
    return folder == root or root in folder.parents or folder in root.parents


def _read(source: Path, file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    text: dict[str, Any] = {_FILE: pa.string()}  # a name such as 0001 is no number
    path = source / file
    try:
        if file.suffix == ".csv":
            table = pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types=text))
        elif file.suffix == ".jsonl":
            schema = pa.schema(list(text.items()))
            table = pa.json.read_json(path, parse_options=pa.json.ParseOptions(explicit_schema=schema))
        else:
            table = pa.parquet.read_table(path)
    except (OSError, pa.ArrowException) as fault:
        raise DataError(f"{path} cannot be read: {str(fault).splitlines()[0]}") from fault
    if _FILE not in table.column_names:
        raise DataError(f"{path} has no column {_FILE}, only {', '.join(table.column_names)}")
    if "image" in table.column_names:
        raise DataError(f"{path} has a column 'image', the name of the pictures' own: rename it")
    return table


def _rows(file: Path, table: pa.Table, source: Path) -> dict[Path, int]:
    """The row of each file listed, by its path relative to the source."""
    found: dict[Path, int] = {}
    for row, name in enumerate(table.column(_FILE).to_pylist()):
        if not isinstance(name, str) or not name:
            raise DataError(f"{source / file}: row {row} names no file: fill it or remove it")
        path = Path(posixpath.normpath(posixpath.join(file.parent.as_posix(), name.replace("\\", "/"))))
        if path in found:
            raise DataError(f"{source / file} lists {name} twice: remove one of the rows")
        found[path] = row
    return found
