"""Any map-style torch Dataset as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gin
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from modules.core.checks import ConfigurationError, DataError, check_instance, check_number, in_short
from modules.data.base import Data, Examples
from modules.data.images import fit_image
from modules.data.quantization import to_unit_range


@gin.register
class TorchData(Data):
    """A torch Dataset of len() and [i], whose items are x or (x, label): pictures, arrays or tensors.

    A PIL picture is scaled and cropped to the shape, arrays and tensors must have it; 8 bits become
    x/127.5 - 1. A label is a class id, or one id an attribute.

    Args:
        dataset: whose items depend on i alone: random transforms are drawn anew by every process and resume.
        shape: of one example, (c, h, w) or (d,).
        num_classes: of the labels; 0 leaves labels out.
        value_range: (low, high) of float images, carried onto [-1, 1]: (0, 1) as torchvision's ToTensor
            gives; None: there are none.
        class_names: one name a class; none: their numbers.
    """

    kept_as: ClassVar[dict[str, str]] = {"dataset": "source"}

    def __init__(
        self,
        dataset: Dataset[Any],
        shape: tuple[int, ...],
        num_classes: int = 0,
        value_range: tuple[float, float] | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        super().__init__(shape, num_classes)
        check_instance("TorchData.dataset", dataset, Dataset)
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise ConfigurationError(
                f"TorchData.dataset must have len() and [i], and {type(dataset).__name__} has not: an "
                "IterableDataset can't be resumed at a step"
            )
        if value_range is not None:
            check_instance("TorchData.value_range", value_range, (tuple, list))
            if len(value_range) != 2:
                raise ConfigurationError(
                    f"TorchData.value_range must be (low, high), got {in_short(value_range)}"
                )
            low, high = value_range
            check_number("TorchData.value_range's low", low)
            check_number("TorchData.value_range's high", high, above=low)
        names = list(class_names) or [str(i) for i in range(num_classes)]
        if len(names) != num_classes:
            raise ConfigurationError(
                f"TorchData.class_names must be {num_classes} names, got {in_short(class_names)}"
            )
        self.dataset, self.value_range, self.class_names = dataset, value_range, names
        self.source = type(dataset).__name__

    def open(self) -> Examples:
        """Its examples, read as they are asked for."""
        return _TorchExamples(self)


class _TorchExamples(Examples):
    def __init__(self, data: TorchData) -> None:
        self.data, self.shape, self.class_names = data, data.shape, data.class_names
        self.grey_values = 256 if len(self) and self._raw(0)[0].dtype == torch.uint8 else None

    def __len__(self) -> int:
        return len(self.data.dataset)  # type: ignore[arg-type]

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        found = [self._example(index) for index in indices.tolist()]
        return torch.stack([image for image, _ in found]), torch.stack([label for _, label in found])

    def _example(self, index: int) -> tuple[Tensor, Tensor]:
        """x (*shape) float32 and its labels (A,)."""
        x, label = self._raw(index)
        if x.dtype != torch.uint8 and len(self.shape) == 3:
            if self.data.value_range is None:
                raise DataError(
                    f"{self._where(index)} holds float numbers: set TorchData.value_range, (0, 1) as "
                    "torchvision's ToTensor gives, (-1, 1) where they are scaled already"
                )
            low, high = self.data.value_range
            x = 2 * (x - low) / (high - low) - 1
        if self.data.num_classes == 0:
            return to_unit_range(x), torch.tensor([-1])
        if label is None:
            raise DataError(f"{self._where(index)} has no label: set num_classes = 0, or give (x, label)")
        return to_unit_range(x), torch.as_tensor(label, dtype=torch.int64).reshape(-1)

    def _raw(self, index: int) -> tuple[Tensor, Any]:
        """What item `index` holds: x (*shape), uint8 or float, and its label where it has one."""
        item = self.data.dataset[index]
        x, label = (
            (item[0], item[1] if len(item) > 1 else None) if isinstance(item, (tuple, list)) else (item, None)
        )
        if hasattr(x, "getexif") and len(self.shape) == 3:  # a PIL picture
            x = fit_image(x, self.shape)
        if isinstance(x, np.ndarray):
            x = torch.from_numpy(x)
        if not isinstance(x, Tensor) or tuple(x.shape) != self.shape:
            what = tuple(x.shape) if isinstance(x, Tensor) else in_short(x)
            raise DataError(f"{self._where(index)} is {what}, not a picture or numbers of shape {self.shape}")
        return x, label

    def _where(self, index: int) -> str:
        return f"item {index} of {self.data.source}"
