"""What a data set is: a `Data` says what it holds, its `open()` does the reading and gives `Examples`."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from modules.core.checks import DataError, check_integer, check_shape
from modules.data.quantization import to_unit_range

_CHUNK = 256


class Examples(ABC):
    """An opened data set: examples by index.

    Attributes:
        shape: of one example, (c, h, w) or (d,).
        class_names: one name a class; empty without labels.
        grey_values: n, where values are k·2/(n-1) - 1 with whole numbers k; None: where they aren't.
    """

    shape: tuple[int, ...]
    class_names: list[str]
    grey_values: int | None = None

    def __init_subclass__(cls) -> None:
        """Rows that are images alone get labels of none."""
        super().__init_subclass__()
        rows = vars(cls).get("rows")
        if rows is not None:

            @functools.wraps(rows)
            def labelled(self: Examples, indices: Tensor) -> tuple[Tensor, Tensor]:
                found = rows(self, indices)
                return (found, torch.full((len(found), 1), -1)) if isinstance(found, Tensor) else found

            cls.rows = labelled  # type: ignore[method-assign]

    @abstractmethod
    def __len__(self) -> int:
        """The number of examples."""

    @abstractmethod
    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Examples by index.

        Args:
            indices: (n,) int64 in 0..len-1.
        Returns:
            image (n, *shape) float32 in [-1, 1] (points: of order one) and labels (n, A) int64, one
            column an attribute (A = 1 for plain class labels); -1 = none. A class without labels may
            give images alone.
        Raises:
            DataError: naming the index or file that cannot be read.
        """


class Data(ABC):
    """A data set to be opened. Making one reads nothing.

    Args:
        shape: of one example, (c, h, w) or (d,).
        num_classes: of the labels; 0 leaves labels out (each is -1).
    Attributes:
        class_names: one name a class; where only the files know them, empty until `open`.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int = 0) -> None:
        self.shape = check_shape(f"{type(self).__name__}.shape", shape)
        check_integer(f"{type(self).__name__}.num_classes", num_classes, low=0)
        self.num_classes = num_classes
        self.class_names: list[str] = []

    @abstractmethod
    def open(self) -> Examples:
        """Read what must be read. Raises DataError, one line, for what is missing or broken."""

    def faults(self) -> Iterator[str]:
        """Read every example: a line for each image or label that cannot be used, none for a sound set."""
        try:
            examples = self.open()
        except DataError as fault:
            yield str(fault)
            return
        for chunk in torch.arange(len(examples)).split(_CHUNK):
            try:
                yield from self._wrong_values(chunk, *examples.rows(chunk))
            except DataError:
                for index in chunk.split(1):
                    try:
                        yield from self._wrong_values(index, *examples.rows(index))
                    except DataError as fault:
                        yield str(fault)

    def _wrong_values(self, indices: Tensor, images: Tensor, labels: Tensor) -> Iterator[str]:
        name = type(self).__name__
        finite = images.flatten(1).isfinite().all(1)
        for row in (~finite).nonzero().flatten().tolist():
            yield f"{name}: example {indices[row]} has values that are not finite"
        if len(self.shape) == 3:
            for row in (finite & (images.flatten(1).abs().amax(1) > 1.01)).nonzero().flatten().tolist():
                low, high = float(images[row].min()), float(images[row].max())
                yield f"{name}: example {indices[row]} has values from {low:g} to {high:g}, not in [-1, 1]"
        outside = (labels < -1) | (labels >= self.num_classes)
        for row in outside.any(1).nonzero().flatten().tolist():
            yield (
                f"{name}: the label of example {indices[row]} is {labels[row].tolist()}, "
                f"not in 0..{self.num_classes - 1} (-1 = none)"
            )


class MemoryExamples(Examples):
    """Examples held in memory.

    Args:
        images: (n, *shape) uint8, given out as x/127.5 - 1; or float, given out as they are.
        labels: (n,) or (n, A) int64; None where there are none.
        class_names: one name a class.
        grey_values: that the images have, where that isn't 256 for uint8 and unknown for float.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        class_names: Sequence[str] = (),
        grey_values: int | None = None,
    ) -> None:
        if labels is None:
            labels = torch.full((images.shape[0],), -1)
        self.images = images
        self.labels = labels.reshape(images.shape[0], -1)
        self.shape = tuple(images.shape[1:])
        self.class_names = list(class_names)
        self.grey_values = grey_values or (256 if images.dtype == torch.uint8 else None)

    def __len__(self) -> int:
        return self.images.shape[0]

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return to_unit_range(self.images[indices]), self.labels[indices]
