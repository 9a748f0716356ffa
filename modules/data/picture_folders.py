"""Folders of pictures: which files belong to a split, and what their classes are.

The files are found here, not by a library, and what is not used is told with its reason.

- Split: a folder directly below the source that is called train, test, ...; nothing else is one. Without
  such a folder all is "train".
- Picture: a file with the ending of a format that is read, or whose first bytes are of one.
- Class: the folder that holds the picture, as its path below the split's folder, less what all share. With
  metadata.csv, .jsonl or .parquet the columns of these stand in the place of folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.core.checks import DataError
from modules.data.images import begins_like_a_picture, is_picture
from modules.data.metadata import NAMES, with_metadata
from modules.data.order import by_number
from modules.data.splits import SPLITS, split_named
from modules.data.walk import LeftOut, files_below, is_hidden, summary, unused

if TYPE_CHECKING:
    from datasets import Dataset


def open_picture_folder(source: Path, split: str) -> tuple[Dataset, list[LeftOut]]:
    """One split as a table: "image" with the files' paths, and "label" by class folders or the metadata's
    columns; and what is left out.

    Raises:
        DataError: unknown split, no picture, metadata that cannot be read.
    """
    files, left_out = files_below(source)
    splits = sorted({file.parts[0] for file in files if len(file.parts) > 1} & SPLITS)
    chosen = split_named(source, split, splits)
    root = Path(chosen) if splits else Path()
    own = [file for file in files if not splits or file.parts[0] == chosen]

    pictures, others = [], []
    for file in own:
        if is_hidden(file) or not is_picture(source / file):
            others.append(file)
        else:
            pictures.append(file)
    left_out = [left for left in left_out if not splits or left.path.parts[0] not in set(splits) - {chosen}]
    others = [file for file in others if file.name not in NAMES]
    left_out += unused(others, "no picture in a format that is read", _is_hidden_picture(source))
    if splits:
        beside = [file for file in files if file.parts[0] not in splits and file.name not in NAMES]
        left_out += unused(beside, f"beside the splits {', '.join(splits)}", _is_hidden_picture(source))

    listed = with_metadata(source, files, pictures, root)
    columns: dict[str, Any] = {}
    if listed is not None:
        pictures, table, unlisted = listed
        left_out += unlisted
        columns = dict(zip(table.column_names, table.columns, strict=True))
    if not pictures:
        more = f": {summary(left_out)}" if left_out else ""
        raise DataError(f"{source / root} holds no pictures{more}")
    return _table(source, pictures, _classes(pictures, root) if listed is None else None, columns), left_out


def pictures_below(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """The pictures below a folder, whatever is called like a split or lists them; what else lies there."""
    files, left_out = files_below(folder)
    found = [file for file in files if not is_hidden(file) and is_picture(folder / file)]
    others = sorted(set(files) - set(found))
    left_out += unused(others, "no picture in a format that is read", _is_hidden_picture(folder))
    return [folder / file for file in sorted(found, key=lambda file: by_number(file.as_posix()))], left_out


def _is_hidden_picture(source: Path) -> Any:
    # the ending says nothing of a hidden file: other systems leave notes under a picture's name
    return lambda file: begins_like_a_picture(source / file)


def _classes(pictures: Sequence[Path], root: Path) -> list[str | None] | None:
    """The class of each picture, None of those in no folder; None: there are no folders."""
    places = [picture.relative_to(root).parent.parts for picture in pictures]
    inner = {place for place in places if place}
    if not inner:
        return None
    shared = 0
    while all(len(place) > shared + 1 for place in inner) and len({place[shared] for place in inner}) == 1:
        shared += 1
    return ["/".join(place[shared:]) if place else None for place in places]


def _table(
    source: Path, pictures: Sequence[Path], classes: list[str | None] | None, columns: dict[str, Any]
) -> Dataset:
    import datasets
    import pyarrow as pa
    from datasets.table import InMemoryTable

    place = source.absolute()
    paths = pa.array([str(place / picture) for picture in pictures])
    image = pa.StructArray.from_arrays([pa.nulls(len(paths), pa.binary()), paths], ["bytes", "path"])
    features: dict[str, Any] = {"image": datasets.Image(decode=False)}
    values: dict[str, Any] = {"image": image}
    if classes is not None:
        names = sorted({name for name in classes if name is not None}, key=by_number)
        number = {name: i for i, name in enumerate(names)}
        features["label"] = datasets.ClassLabel(names=names)
        values["label"] = pa.array([None if name is None else number[name] for name in classes], pa.int64())
    for name, column in columns.items():
        features[name] = datasets.features.features.generate_from_arrow_type(column.type)
        values[name] = column
    table = InMemoryTable(pa.table(values))
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=datasets.Features(features)))
