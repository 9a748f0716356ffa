"""Where a data set lies, and how it is opened: a file, a folder, a saved set, or a name on the Hub.

`datasets` is imported inside the functions: it takes seconds, and embedded sets don't need it.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.core.checks import DataError, nearest
from modules.data.picture_folders import open_picture_folder
from modules.data.splits import unknown_split
from modules.data.table_files import BUILDERS, files_of_split, is_table, split_of
from modules.data.walk import LeftOut, files_below, is_hidden

if TYPE_CHECKING:
    from datasets import Dataset

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass(frozen=True)
class Opened:
    """One split of a data set.

    Attributes:
        table: its rows, memory-mapped or paths of files; nothing is decoded.
        folder: where paths in the table start from; None: of the Hub, where all is in the table.
        left_out: what lies in the source's folder and is no part of the set.
    """

    table: Dataset
    folder: Path | None = None
    left_out: Sequence[LeftOut] = ()


def open_source(source: str, split: str, config: str | None = None) -> Opened:
    """One split of a data set.

    Args:
        source: a parquet or arrow file; a folder of them, where the file name up to the first "-", or
            else its folder's name, is the split (if none has a split's name, all are "train"); a
            folder written by `save_to_disk`; a folder of pictures, see picture_folders.py; or a data set's
            name on the Hugging Face Hub.
        split: its name. A source of one unnamed split has the name "train".
        config: the configuration of a set on the Hub that has several.
    Raises:
        DataError: missing path, unknown split, unreadable file, Hub out of reach.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _open_file(path, split)
    if path.is_dir():
        return _open_folder(path, split)
    if not _may_be_hub_name(source):
        raise DataError(f"there is no file or folder {source}.{_nearest_path(path)}")
    return Opened(_open_hub(source, split, config))


def parquet_files(source: str, split: str, config: str | None = None) -> tuple[list[str], Sequence[LeftOut]]:
    """The parquet files of one split where they lie, as paths or hf:// addresses, and what is left out.

    Args: as of open_source; nothing but names is fetched.
    Raises:
        DataError: as open_source's; also a source of something else.
    """
    path = Path(source).expanduser()
    if not path.exists() and _may_be_hub_name(source):
        with _hub_faults(source):
            import datasets

            builder = datasets.load_dataset_builder(source, config)
        files = list(_pick(source, builder.config.data_files or {}, split))
        left_out: Sequence[LeftOut] = ()
    elif not path.exists():
        raise DataError(f"there is no file or folder {source}.{_nearest_path(path)}")
    elif path.is_file():
        files, left_out = [str(path)], ()
    else:
        below, lost = files_below(path)
        tables = [file for file in below if is_table(file) and not is_hidden(file)]
        chosen, other = files_of_split(path, below, split) if tables else ([], [])
        files, left_out = [str(path / file) for file in chosen], [*lost, *other]
    if not files or not all(file.lower().endswith(".parquet") for file in files):
        raise DataError(
            f"{source} is not of parquet files, of which alone a part can be read: set "
            "HuggingFaceData.streamed to False, or convert it"
        )
    return files, left_out


def _open_file(path: Path, split: str) -> Opened:
    if path.suffix.lower() not in BUILDERS:
        raise DataError(f"{path} is neither .parquet nor .arrow: convert it, or give the folder of images")
    # whoever names one file wants that file: "train" is what is asked for by default
    if split not in ("train", split_of(path)):
        raise unknown_split(str(path), split, [split_of(path) or "train"])
    return Opened(_load(path, [path]), path.parent)


def _open_folder(path: Path, split: str) -> Opened:
    import datasets

    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        try:
            saved = datasets.load_from_disk(str(path))
        except Exception as error:  # whatever pyarrow and json make of broken files
            raise DataError(f"{path} cannot be read by load_from_disk: {_one_line(error)}") from error
        if not isinstance(saved, datasets.Dataset):
            return Opened(_pick(str(path), saved, split), path / split)
        if split not in ("train", str(saved.split)):
            raise unknown_split(str(path), split, [str(saved.split or "train")])
        return Opened(saved, path)
    files, lost = files_below(path)
    if any(is_table(file) and not is_hidden(file) for file in files):
        tables, left_out = files_of_split(path, files, split)
        chosen = [path / file for file in tables]
        return Opened(_load(path, chosen), chosen[0].parent, [*lost, *left_out])
    pictures, left_out = open_picture_folder(path, split)
    return Opened(pictures, path, left_out)


def _load(source: Path, files: Sequence[Path]) -> Dataset:
    """The rows of files of one kind."""
    import datasets

    builder = BUILDERS[files[0].suffix.lower()]
    # escaped, since the builders take names for patterns
    place = {"train": [glob.escape(str(file)) for file in files]}
    try:
        return datasets.load_dataset(builder, data_files=place)["train"]
    except Exception as error:  # builders raise whatever their file format raises
        if "corresponds to no data" in str(error):
            raise DataError(f"{source} is empty") from error
        raise DataError(f"{source} cannot be read as {builder}: {_one_line(error)}") from error


def _open_hub(name: str, split: str, config: str | None) -> Dataset:
    import datasets

    with _hub_faults(name):
        found = datasets.load_dataset(name, config)
    return _pick(name, found, split)


@contextmanager
def _hub_faults(name: str) -> Iterator[None]:
    """What goes wrong with a set of the Hub inside, as a DataError."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    fetch = (
        f"with a network run `hf download --repo-type dataset {name} --local-dir DIR`, then set "
        f'HuggingFaceData.source = "DIR"'
    )
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise DataError(
            f"the Hub is out of reach (offline?) and data set {name!r} is not cached: {fetch}"
        ) from error
    except DatasetNotFoundError as error:
        raise DataError(
            f"{name!r} is neither a path here nor a data set on the Hub that this account may read: "
            f"{_one_line(error)}"
        ) from error
    except Exception as error:  # unknown configuration, broken files, no space, ...
        if datasets.config.HF_HUB_OFFLINE:
            raise DataError(
                f"data set {name!r} cannot be opened offline ({_one_line(error)}): {fetch}"
            ) from error
        raise DataError(f"data set {name!r} of the Hub cannot be opened: {_one_line(error)}") from error


def _pick(source: str, splits: Mapping[str, Any], split: str) -> Any:
    if split not in splits:
        raise unknown_split(source, split, list(splits))
    return splits[split]


def _may_be_hub_name(source: str) -> bool:
    """Whether a missing path can be meant for the Hub: NAME or OWNER/NAME, where no folder OWNER is here.

    A builder's name is none: `datasets` would read all that lies in the working folder, and by "pandas" some
    versions of it unpickle that.
    """
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as builders

    if source in builders or not _HUB_NAME.fullmatch(source) or Path(source).suffix.lower() in BUILDERS:
        return False
    return "/" not in source or not Path(source).parent.exists()


def _nearest_path(path: Path) -> str:
    """A hint at the first missing component of a path."""
    while not path.parent.exists():
        path = path.parent
    return nearest(path.name, [entry.name for entry in path.parent.iterdir()]) if path.parent.is_dir() else ""


def _one_line(error: BaseException) -> str:
    """The first line of the innermost cause, with its type where it has no text."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
