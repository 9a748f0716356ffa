"""Parquet files too large for this disk: read where they lie, a group of rows at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.data.base import Examples

if TYPE_CHECKING:
    from datasets import Dataset, Features

_AT_ONCE = 16  # files whose ends are read beside each other


@dataclass(frozen=True)
class RowGroup:
    """A part of a parquet file that is read by itself: `length` rows, the first of them the set's `start`."""

    file: str
    number: int
    start: int
    length: int
    size: int


class RowGroups:
    """The row groups of parquet files, on this disk or anywhere that fsspec reaches, such as hf://.

    Only the ends of the files are read, which say where their groups lie.

    Args:
        files: paths or addresses.
        where: the set, in messages.

    Raises:
        DataError: a file that can't be read.
    """

    def __init__(self, files: Sequence[str], where: str) -> None:
        import datasets

        self.where = where
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            ends = dict(zip(files, pool.map(self._end, files), strict=True))
        self._ends = ends
        self.groups: list[RowGroup] = []
        start = 0
        for file, end in ends.items():
            for number in range(end.num_row_groups):
                group = end.row_group(number)
                self.groups.append(RowGroup(file, number, start, group.num_rows, group.total_byte_size))
                start += group.num_rows
        self.features: Features = datasets.Features.from_arrow_schema(ends[files[0]].schema.to_arrow_schema())

    def __len__(self) -> int:
        """The number of rows."""
        return sum(group.length for group in self.groups)

    def read(self, group: RowGroup) -> Dataset:
        """The rows of one group. Raises DataError."""
        import datasets
        import pyarrow
        from datasets.table import InMemoryTable

        def rows(file: Any) -> Any:
            return file.read_row_group(group.number, columns=list(self.features))

        table = self._parquet(group.file, rows, self._ends[group.file])
        try:
            table = table.replace_schema_metadata(None).cast(self.features.arrow_schema)
        except (pyarrow.ArrowInvalid, ValueError) as error:
            raise DataError(
                f"{self.where}: {group.file} has other columns than the first file: {error}"
            ) from error
        return datasets.Dataset(InMemoryTable(table), info=datasets.DatasetInfo(features=self.features))

    def contents(self) -> Iterator[bytes]:
        """What the ends of the files say: their names, and each group's rows and bytes."""
        for group in self.groups:
            name = PurePosixPath(group.file).name
            yield repr((name, group.number, group.length, group.size)).encode()

    def _end(self, file: str) -> Any:
        return self._parquet(file, lambda parquet: parquet.metadata)

    def _parquet(self, file: str, use: Callable[[Any], Any], end: Any = None) -> Any:
        """What `use` makes of an open file."""
        import fsspec
        import pyarrow.parquet

        try:
            with fsspec.open(file, "rb") as opened:
                return use(pyarrow.parquet.ParquetFile(opened, metadata=end))
        except Exception as error:  # of networks, file systems and pyarrow, of many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.where}: {file} cannot be read: {reason}") from error


class StreamedExamples(Examples):
    """Examples of row groups that are fetched when one of their rows is asked for, and kept a while.

    The training stream takes row groups in a drawn order and shuffles `window` rows or more among each
    other: still a function of seed and epoch, so that a run resumes exactly, reading the groups of the window
    that it is in. Kept are those of two windows, undecoded. A row taken out of order costs its group.

    Args:
        groups: where the rows lie.
        shape, class_names: of the set.
        decoded: the examples of one group's rows, the first of which is the set's `start`.
        window: rows.
    """

    grey_values = 256

    def __init__(
        self,
        groups: RowGroups,
        shape: tuple[int, ...],
        class_names: Sequence[str],
        decoded: Callable[[Dataset, int], Examples],
        window: int,
    ) -> None:
        self.shape, self.class_names, self.window = shape, list(class_names), window
        self.lengths = torch.tensor([group.length for group in groups.groups])
        self.blocks = self.lengths
        self._ends = self.lengths.cumsum(0)
        self._groups, self._decoded = groups, decoded
        self._kept: OrderedDict[int, Future[Examples]] = OrderedDict()
        self._most = 2 * (window + int(self.lengths.max()))
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        of = torch.bucketize(indices, self._ends, right=True)
        images: Tensor | None = None
        for number in of.unique().tolist():
            here = of == number
            group = self._group(number)
            image, label = group.rows(indices[here] - (self._ends[number] - self.lengths[number]))
            if images is None:
                images = image.new_empty((len(indices), *self.shape))
                labels = label.new_empty((len(indices), label.shape[1]))
            images[here], labels[here] = image, label
        if images is None:
            return torch.empty((0, *self.shape)), torch.empty((0, 1), dtype=torch.int64)
        return images, labels

    def contents(self) -> Iterator[bytes | memoryview]:
        """The ends of the files: the rows themselves would have to be fetched, all of them."""
        yield from self._groups.contents()

    def _group(self, number: int) -> Examples:
        """The examples of a group, read once by whichever thread comes first."""
        with self._lock:
            kept = self._kept.get(number)
            mine = kept is None
            if kept is None:
                kept = self._kept[number] = Future()
                while len(self._kept) > 1 and int(self.lengths[list(self._kept)].sum()) > self._most:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
        if mine:
            group = self._groups.groups[number]
            try:
                kept.set_result(self._decoded(self._groups.read(group), group.start))
            except BaseException as fault:
                with self._lock:
                    self._kept.pop(number, None)  # asked for again, it is tried again
                kept.set_exception(fault)
        return kept.result()
