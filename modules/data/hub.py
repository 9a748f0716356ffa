"""One loader for real images: Hugging Face datasets, from the Hub or from files."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import gin
import torch
from torch import Tensor

from modules.core.checks import (
    ConfigurationError,
    DataError,
    check_bool,
    check_instance,
    check_integer,
)
from modules.data.base import Data, Examples, MemoryExamples
from modules.data.images import MODES
from modules.data.labels import find_label_column, label_faults, read_attributes, read_labels
from modules.data.pictures import BadImages, MappedExamples, Pictures, decode_all, find_image_column
from modules.data.sources import Opened, open_source, parquet_files
from modules.data.streamed import RowGroups, StreamedExamples

if TYPE_CHECKING:
    from datasets import Dataset


@gin.register
class HuggingFaceData(Data):
    """Images of any mode and size, with labels or attributes, through Hugging Face datasets.

    Sets of up to `in_memory_limit_bytes` (decoded: n·c·h·w) are decoded once and kept as 8-bit
    images; larger ones stay memory-mapped and are decoded when asked for. See modules/data/images.py
    for colours and sizes, labels.py for labels, sources.py for sources.

    Args:
        source: a parquet or arrow file or a folder of them, a `save_to_disk` folder, a folder of
            images, or a name on the Hub.
        shape: (c, h, w) images are brought to; c = 1 grey, 3 RGB, 4 RGBA.
        split: of the source.
        config: the configuration of a set on the Hub that has several.
        image_column: the column of images; None finds it.
        label_column: the column of class labels; None finds it where labels are wanted.
        attribute_columns: columns of attributes in place of labels, each (attribute, value) one class.
        num_classes: of the set, which `open` checks; 0 leaves labels out.
        in_memory_limit_bytes: see above.
        num_workers: threads that decode a set into memory; more than one pays for photos, not for icons.
        max_bad_images: how many images that cannot be decoded are left out of a set in memory, or replaced
            by the next good one of a set that stays mapped; 0: the first one met is an error.
        streamed: read parquet files where they lie, on the Hub or here, a group of rows at a time, and keep
            nothing on the disk: see modules/data/streamed.py.
        window: of a streamed set, how many images at least are shuffled among each other.
    """

    path_parameters = ("source",)

    def __init__(
        self,
        source: str,
        shape: tuple[int, ...],
        split: str = "train",
        config: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        attribute_columns: Sequence[str] = (),
        num_classes: int = 0,
        in_memory_limit_bytes: int = 2 * 2**30,
        num_workers: int = 1,
        max_bad_images: int = 0,
        streamed: bool = False,
        window: int = 10_000,
    ) -> None:
        super().__init__(shape, num_classes)
        if len(self.shape) != 3 or self.shape[0] not in MODES:
            raise ConfigurationError(
                f"HuggingFaceData.shape must be (1, 3 or 4 channels, height, width), got {shape}"
            )
        check_instance("HuggingFaceData.source", source, str)
        check_instance("HuggingFaceData.split", split, str)
        for name, value in (
            ("config", config),
            ("image_column", image_column),
            ("label_column", label_column),
        ):
            check_instance(f"HuggingFaceData.{name}", value, (str, type(None)))
        check_instance("HuggingFaceData.attribute_columns", attribute_columns, (tuple, list))
        check_integer("HuggingFaceData.in_memory_limit_bytes", in_memory_limit_bytes, low=0)
        check_integer("HuggingFaceData.num_workers", num_workers, low=1, high=1024)
        check_integer("HuggingFaceData.max_bad_images", max_bad_images, low=0)
        check_bool("HuggingFaceData.streamed", streamed)
        check_integer("HuggingFaceData.window", window, low=1)
        if streamed and max_bad_images:
            raise ConfigurationError(
                "HuggingFaceData.max_bad_images is for sets on this disk, whose bad images can be counted: "
                "set it to 0, or streamed to False"
            )
        if label_column is not None and attribute_columns:
            raise ConfigurationError(
                f"HuggingFaceData has both label_column and attribute_columns: "
                f"make {label_column!r} one of the attributes"
            )
        self.source, self.split, self.config = source, split, config
        self.image_column, self.label_column = image_column, label_column
        self.attribute_columns = tuple(attribute_columns)
        self.in_memory_limit_bytes, self.num_workers = in_memory_limit_bytes, num_workers
        self.max_bad_images, self.streamed, self.window = max_bad_images, streamed, window

    def with_split(self, name: str) -> HuggingFaceData:
        """A split of the same source; one that isn't there is told when it is opened."""
        other = copy.copy(self)
        other.split = name
        return other

    @property
    def where(self) -> str:
        return f"{self.source} ({self.split})"

    def open(self) -> Examples:
        if self.streamed:
            return self._streamed()
        opened = self._opened()
        labels, self.class_names = self._labels(opened.table)
        pictures = self._pictures(opened, self.max_bad_images)
        examples: Examples
        if len(opened.table) * math.prod(self.shape) > self.in_memory_limit_bytes:
            examples = MappedExamples(pictures, labels, self.class_names)
        else:
            images, good = decode_all(pictures, self.num_workers)
            examples = MemoryExamples(images, labels[good], self.class_names)
        examples.left_out = list(map(str, opened.left_out))
        return examples

    def _streamed(self) -> Examples:
        """The set as row groups, one of which is read."""
        files, left_out = parquet_files(self.source, self.split, self.config)
        groups = RowGroups(files, self.where)
        if len(groups) == 0:
            raise DataError(f"{self.where} is empty")
        first = groups.read(next(group for group in groups.groups if group.length))
        self._check_names_are_told(first)
        _, self.class_names = self._labels(first)

        def decoded(table: Dataset, start: int) -> Examples:
            where = f"{self.where}, from image {start:,} on"
            labels, _ = self._labels(table, where)
            return MappedExamples(self._pictures(Opened(table), 0, where), labels, self.class_names)

        examples = StreamedExamples(groups, self.shape, self.class_names, decoded, self.window)
        examples.left_out = list(map(str, left_out))
        return examples

    def _check_names_are_told(self, table: Dataset) -> None:
        """Raise where the classes of a streamed set are not known before all of it was read."""
        import datasets

        if not self.num_classes:
            return
        for column in self.attribute_columns or [self.label_column or find_label_column(table, self.where)]:
            kind = table.features.get(column)
            if kind is not None and not isinstance(kind, datasets.ClassLabel) and kind.dtype != "bool":
                raise DataError(
                    f"{self.where}: column {column!r} holds {kind.dtype}, whose classes are known when all "
                    "is read: a streamed set needs ClassLabel or bool: set HuggingFaceData.streamed to False"
                )

    def pictures(self) -> Pictures:
        """The pictures of the set as they are encoded, of a streamed one the first few. Raises as open."""
        if self.streamed:
            groups = RowGroups(parquet_files(self.source, self.split, self.config)[0], self.where)
            return self._pictures(Opened(groups.read(groups.groups[0])), 0)
        return self._pictures(self._opened(), self.max_bad_images)

    def read_class_names(self) -> list[str]:
        return self.open().class_names if self.streamed else self._labels(self._opened().table)[1]

    def faults(self) -> Iterator[str]:
        """As of any data; what is left out too, and every picture is decoded, whatever max_bad_images."""
        if self.streamed:
            yield from super().faults()
            return
        try:
            opened = self._opened()
            pictures = self._pictures(opened, len(opened.table))
        except DataError as fault:
            yield str(fault)
            return
        for left in opened.left_out:
            yield f"{self.where}: {left} is left out"
        if self.num_classes:
            yield from self._label_faults(opened.table, self.where)
        for image in pictures.search():
            yield f"{self.where}: image {image} cannot be decoded: replace it"

    def _label_faults(self, dataset: Dataset, where: str) -> Iterator[str]:
        found = False
        try:
            for column in self.attribute_columns or [self.label_column or find_label_column(dataset, where)]:
                for fault in label_faults(dataset, column, where, bool(self.attribute_columns)):
                    found = True
                    yield fault
            if not found:
                self._labels(dataset)
        except DataError as error:  # the column as a whole, or the number of classes
            yield str(error)

    def _opened(self) -> Opened:
        """The table of the source, with what is left out."""
        opened = open_source(self.source, self.split, self.config)
        if len(opened.table) == 0:
            raise DataError(f"{self.where} is empty")
        return opened

    def _pictures(self, opened: Opened, max_bad_images: int, where: str = "") -> Pictures:
        """Its encoded pictures, of which up to so many may be bad."""
        column = self.image_column or find_image_column(opened.table, self.where)
        bad = BadImages(max_bad_images, where or self.where)
        return Pictures(opened.table, column, self.shape, bad, opened.folder)

    def _labels(self, dataset: Dataset, where: str = "") -> tuple[Tensor, list[str]]:
        """Its labels (n, A) int64 and the classes' names."""
        where = where or self.where
        if self.num_classes == 0:
            return torch.full((len(dataset), 1), -1), []
        if self.attribute_columns:
            labels, names = read_attributes(dataset, self.attribute_columns, where)
        else:
            column = self.label_column or find_label_column(dataset, where)
            labels, names = read_labels(dataset, column, where)
        if len(names) != self.num_classes:
            few = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise DataError(
                f"{where} has {len(names)} classes, but num_classes is {self.num_classes}: set NUM_CLASSES = "
                f"{len(names)}, or 0 to leave labels out; they are {few}"
            )
        return labels.reshape(len(dataset), -1), names
