"""Every example of a data set looked at, beyond what opening it reads: a line for each fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modules.checks import DataError
from modules.data.base import Data, Examples
from modules.data.hub import HuggingFaceData
from modules.data.labels import find_label_column, label_faults

if TYPE_CHECKING:
    from datasets import Dataset

_CHUNK = 1024


def faults(data: Data) -> Iterator[str]:
    """A line for each image or label of a set that cannot be used; none for a sound set.

    Args:
        data: any data set. Of a HuggingFaceData every picture is decoded, whatever its max_bad_images.
    """
    try:
        yield from _of_table(data) if isinstance(data, HuggingFaceData) else _of_examples(data)
    except DataError as error:  # the set as a whole: no such file, no such column, ...
        yield str(error)


def _of_table(data: HuggingFaceData) -> Iterator[str]:
    dataset, where = data.table()
    if data.num_classes:
        yield from _of_labels(data, dataset, where)
    for image in data.pictures(dataset, len(dataset), where).search():
        yield f"{where}: image {image} cannot be decoded: replace it"


def _of_labels(data: HuggingFaceData, dataset: Dataset, where: str) -> Iterator[str]:
    found = False
    try:
        for column in data.attribute_columns or [data.label_column or find_label_column(dataset, where)]:
            for fault in label_faults(dataset, column, where, bool(data.attribute_columns)):
                found = True
                yield fault
        if not found:
            data.labels(dataset, where)
    except DataError as error:  # the column as a whole, or the number of classes
        yield str(error)


def _of_examples(data: Data) -> Iterator[str]:
    name, examples = type(data).__name__, data.open()
    if len(examples) == 0:
        yield f"{name} is empty"
    for start in range(0, len(examples), _CHUNK):
        indices = torch.arange(start, min(start + _CHUNK, len(examples)))
        try:
            images, labels = examples.rows(indices)
        except DataError:
            yield from _one_by_one(examples, indices)
            continue
        for what, wrong in (
            ("image", ~images.isfinite().flatten(1).all(1)),
            ("label", ((labels < -1) | (labels >= max(data.num_classes, 1))).any(1)),
        ):
            for index in indices[wrong].tolist():
                detail = labels[index - start].tolist() if what == "label" else "not finite"
                yield f"{name}: {what} {index} is wrong: {detail}"


def _one_by_one(examples: Examples, indices: Tensor) -> Iterator[str]:
    for index in indices:
        try:
            examples.rows(index[None])
        except DataError as error:
            yield str(error)
