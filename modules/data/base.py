"""What a data set is: a `Data` says what it holds, its `open()` does the reading and gives `Examples`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property, wraps

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, DataError, check_integer, check_shape
from modules.core.fingerprints import bytes_of
from modules.data.given import as_labels
from modules.data.quantization import to_unit_range

_CHUNK = 256
_MOST = 2**22  # examples of a set without contents of its own, of a fingerprint
OTHERS = 2**40
"""Between the seed of a set that code makes and that of its test set."""


class Examples(ABC):
    """An opened data set: examples by index.

    Attributes:
        shape: of one example, (c, h, w) or (d,).
        class_names: one name a class; empty without labels.
        grey_values: n, where values are k·2/(n-1) - 1 with whole numbers k; None: where they aren't.
        left_out: what lies beside the examples in their place and is none of them, each with the reason.
        blocks: (m,) int64, how many neighbours at a time are read together, where one alone is slow; None:
            any order is as fast. window: how many of them at least are shuffled among each other.
    """

    shape: tuple[int, ...]
    class_names: list[str]
    grey_values: int | None = None
    left_out: Sequence[str] = ()
    blocks: Tensor | None = None
    window: int = 1

    def __init_subclass__(cls) -> None:
        """Rows that are images alone get labels of none."""
        super().__init_subclass__()
        rows = vars(cls).get("rows")
        if rows is not None:

            @wraps(rows)
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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every example, its labels and the classes' names: of other data it is another.

        Raises:
            DataError: as of `rows`.
        """
        total = hashlib.sha256(repr((len(self), self.shape, self.class_names)).encode())
        for part in self.contents():
            total.update(part)
        return total.hexdigest()

    def contents(self) -> Iterator[bytes | memoryview]:
        """All that determines what `rows` gives, piece by piece; here the examples themselves.

        Sets that know it without giving out every example say so faster. Of more than 4 million, which only
        code makes that doesn't say so, an even share is taken.
        """
        apart = max(1, len(self) // _MOST)
        for start in range(0, len(self), apart * _CHUNK):
            for values in self.rows(torch.arange(start, min(start + apart * _CHUNK, len(self)), apart)):
                yield bytes_of(values)


def made_contents(data: Data, examples: Examples) -> Iterator[bytes | memoryview]:
    """The `contents` of a set that a function of the index makes: its settings, and 1,024 examples of it."""
    for name, value in sorted(vars(data).items()):
        yield name.encode()
        if isinstance(value, Tensor):
            yield bytes_of(value)
        else:  # what isn't plain would show its address
            plain = isinstance(value, (bool, int, float, str, list, tuple, type(None)))
            yield (repr(value) if plain else type(value).__qualname__).encode()
    few = min(1024, len(examples))
    for values in examples.rows(torch.arange(few) * len(examples) // few):
        yield bytes_of(values)


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

    @property
    def where(self) -> str:
        """The set, as messages call it."""
        return type(self).__name__

    def read_class_names(self) -> list[str]:
        """The classes' names, read from the files where only they know them; no example is read.

        Raises:
            DataError: as of `open`.
        """
        return self.class_names

    @abstractmethod
    def open(self) -> Examples:
        """Read what must be read. Raises DataError, one line, for what is missing or broken."""

    def with_split(self, name: str) -> Data:
        """The part of the set that is called `name`, such as "train" or "test", in the place of this one.

        Raises:
            ConfigurationError: a set without parts.
        """
        raise ConfigurationError(f"{type(self).__name__} has no splits: leave --split out")

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
        if len(labels) != len(images):
            raise DataError(f"{len(images)} images need as many labels, got {len(labels)}")
        labels = as_labels(labels, "labels")
        self.images = images
        self.labels = labels.reshape(images.shape[0], -1)
        self.shape = tuple(images.shape[1:])
        self.class_names = list(class_names)
        self.grey_values = grey_values or (256 if images.dtype == torch.uint8 else None)

    def __len__(self) -> int:
        return self.images.shape[0]

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return to_unit_range(self.images[indices]), self.labels[indices]

    def contents(self) -> Iterator[bytes | memoryview]:
        yield str(self.images.dtype).encode()
        yield from (bytes_of(part) for part in self.images.split(_CHUNK))
        yield bytes_of(self.labels)
