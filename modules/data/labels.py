"""Class ids from the columns of a table: class labels, names, and attributes (spec §8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modules.core.checks import DataError, nearest
from modules.data.order import by_number

if TYPE_CHECKING:
    from datasets import Dataset

_LABEL_NAMES = ("label", "labels", "fine_label", "coarse_label", "class", "target")
_MOST_VALUES = 1000  # of an attribute; more are measurements, not classes


def find_label_column(dataset: Dataset, where: str) -> str:
    """The one column of class labels: of type ClassLabel, or else called label, fine_label, ...

    Raises:
        DataError: if there is none, or several to choose from.
    """
    import datasets

    features = dataset.features
    found = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    found = found or [name for name in features if name in _LABEL_NAMES]
    if not found:
        raise DataError(
            f"{where} has no column of labels among {', '.join(features)}: set "
            f"HuggingFaceData.label_column or attribute_columns, or num_classes = 0"
        )
    if len(found) > 1:
        raise DataError(
            f"{where} has several columns of labels: set HuggingFaceData.label_column to one of "
            f"{', '.join(found)}, or attribute_columns"
        )
    return found[0]


def read_labels(dataset: Dataset, column: str, where: str) -> tuple[Tensor, list[str]]:
    """Labels (n,) int64 and the classes' names.

    ClassLabel ids and integers are taken as they are (0..max), strings get the ids of their sorted
    order (2 before 10), False and True are 0 "no" and 1 "yes".

    Raises:
        DataError: for a label missing or out of range (with its index), or of another type.
    """
    values = _values(dataset, column, where)
    if all(type(value) is int for value in values):
        fault = next(label_faults(dataset, column, where), None)
        if fault is not None:
            raise DataError(fault)
        names = getattr(dataset.features[column], "names", None)
        if names is None and max(values) >= _MOST_VALUES * 100:
            raise DataError(
                f"{where}: column {column!r} holds numbers up to {max(values)}, which cannot serve as classes"
            )
        return torch.tensor(values), list(names or map(str, range(max(values) + 1)))
    return _ids(values, column, where)


def read_attributes(dataset: Dataset, columns: Sequence[str], where: str) -> tuple[Tensor, list[str]]:
    """Labels (n, A) int64 of A attribute columns, and the names "column=value" of all classes.

    Each (attribute, value) is one class (spec §8): those of the first column come first. Booleans
    have the values "no" and "yes"; integers and strings their distinct values, sorted; ClassLabels
    their names.

    Raises:
        DataError: for a value missing (with its index) or of another type.
    """
    ids: list[Tensor] = []
    names: list[str] = []
    for column in columns:
        if getattr(dataset.features.get(column), "names", None):
            own, values = read_labels(dataset, column, where)
        else:
            own, values = _ids(_values(dataset, column, where), column, where)
        ids.append(own + len(names))
        names += [f"{column}={value}" for value in values]
    return torch.stack(ids, 1), names


def label_faults(dataset: Dataset, column: str, where: str, attribute: bool = False) -> Iterator[str]:
    """A line for each label that is missing or out of range; an attribute's plain integers may be any."""
    values = _column(dataset, column, where)
    names = getattr(dataset.features[column], "names", None)
    counted = all(type(value) is int for value in values if value is not None)
    for index, value in enumerate(values):
        if value is None:
            place = _place(dataset, index)
            yield f"{where}: the label at {place} (column {column!r}) is missing: fill it or remove it"
        elif counted and (names or not attribute) and not 0 <= value < (len(names) if names else 2**63):
            wanted = f"in 0..{len(names) - 1}" if names else "0 or above"
            yield (
                f"{where}: label {value} at {_place(dataset, index)} (column {column!r}) is not {wanted}: "
                "correct or remove the row"
            )


def _place(dataset: Dataset, index: int) -> str:
    """An index, and the file of its picture where that is one."""
    if "image" not in dataset.features:
        return f"index {index}"
    value = dataset.with_format("arrow")[index].column("image")[0].as_py()
    path = value.get("path") if isinstance(value, dict) and not value.get("bytes") else None
    return f"index {index}" + (f" ({path})" if path else "")


def _values(dataset: Dataset, column: str, where: str) -> list[Any]:
    values = _column(dataset, column, where)
    if None in values:
        raise DataError(next(label_faults(dataset, column, where)))
    return values


def _column(dataset: Dataset, column: str, where: str) -> list[Any]:
    check_column(dataset, column, where)
    return dataset.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()


def _ids(values: list[Any], column: str, where: str) -> tuple[Tensor, list[str]]:
    """Ids in the order of the distinct values, digits counting as numbers, and the values' names."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return torch.tensor(values, dtype=torch.int64), ["no", "yes"]
    distinct: list[Any] = []
    if kinds == {int}:
        distinct = sorted(set(values))
    elif kinds == {str}:
        distinct = sorted(set(values), key=by_number)
    if not distinct or len(distinct) > _MOST_VALUES:
        what = f"{len(distinct)} different values" if distinct else " and ".join(k.__name__ for k in kinds)
        raise DataError(f"{where}: column {column!r} holds {what}, which cannot serve as classes")
    place = {value: i for i, value in enumerate(distinct)}
    return torch.tensor([place[value] for value in values]), [str(value) for value in distinct]


def check_column(dataset: Dataset, column: str, where: str) -> None:
    """Raise DataError unless the column exists."""
    columns = list(dataset.features)
    if column not in columns:
        raise DataError(
            f"{where} has no column {column!r}, only {', '.join(columns)}.{nearest(column, columns)}"
        )
