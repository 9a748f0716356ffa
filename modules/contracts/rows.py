"""The contract of data: rows as its shape says, in the range that everything counts on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from modules.contracts.faults import calling, shape, what
from modules.contracts.parts import is_own
from modules.contracts.signatures import check_signatures
from modules.core.checks import DataError
from modules.data.base import Data, Examples

_LOOKED_AT = 16


def check_rows(data: Data, examples: Any) -> tuple[Tensor, Tensor]:
    """Rows spread over an opened data set, images (n, *shape) and labels (n, A), if they are as they must be.

    Raises:
        DataError: naming the class, what it gave and what it must give.
    """
    name = type(data).__name__
    if not isinstance(examples, Examples):
        hint = ": wrap a torch Dataset in TorchData" if isinstance(examples, Dataset) else ""
        raise _fault(f"{name}.open", f"a {type(examples).__name__}", f"Examples{hint}")
    for component in (data, examples):
        check_signatures(component)
    with calling():
        count = len(examples)
        if not count:
            raise DataError(f"{name} has no examples: look where it reads them")
        places = torch.arange(min(_LOOKED_AT, count)) * count // max(1, min(_LOOKED_AT, count))
        found = examples.rows(places)
    who = f"{type(examples).__name__}.rows" if is_own(examples) else f"{name}.open().rows"
    if not isinstance(found, tuple) or len(found) != 2:
        raise _fault(who, what(found), "(images, labels)")
    image, label = found
    sizes = (len(places), *data.shape)
    if not isinstance(image, Tensor) or tuple(image.shape) != sizes or image.dtype != torch.float32:
        raise _fault(who, f"images {what(image)}", f"{shape(sizes)} float32, as {name}.shape says")
    if not isinstance(label, Tensor) or label.ndim != 2 or len(label) != len(places):
        raise _fault(who, f"labels {what(label)}", f"({len(places)}, A) int64, a column an attribute")
    if label.dtype != torch.int64:
        raise _fault(who, f"labels {what(label)}", "int64")
    if not image.isfinite().all():
        raise _fault(who, "values that are not finite", "finite ones")
    low, high = float(image.min()), float(image.max())
    if len(data.shape) == 3 and not -1.01 <= low <= high <= 1.01:
        raise _fault(who, f"images from {low:g} to {high:g}", "values in [-1, 1]: x/127.5 - 1 of 8 bits")
    first, last = int(label.min()), int(label.max())
    if first < -1 or last >= max(1, data.num_classes) or (last >= 0 and not data.num_classes):
        must = f"-1 or 0..{data.num_classes - 1}" if data.num_classes else "-1 alone: num_classes is 0"
        raise _fault(who, f"labels from {first} to {last}", must)
    if data.num_classes and last < 0:
        raise _fault(who, "no labels", f"0..{data.num_classes - 1}: num_classes is {data.num_classes}")
    return image, label


def _fault(who: str, gave: str, must: str) -> DataError:
    return DataError(f"{who} gave {gave}, must give {must}")
