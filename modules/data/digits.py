"""The UCI handwritten digits, shipped with the package: 1,797 grey images of 8x8 in ten classes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, DataError, check_choice, check_instance, check_integer
from modules.core.noise import Noise
from modules.data.base import Data, Examples, MemoryExamples

_FILE = Path(__file__).with_name("digits.parquet")
_LENGTH = 1797
_TRAIN = 1437  # 80%
_SPLIT_SEED = 0
_GREY_VALUES = 17  # a digit's pixels count dark cells of 4x4


def digits_split() -> tuple[Tensor, Tensor]:
    """Indices into the file of the 1,437 training and the 360 held-out digits, int64.

    The order of 1,797 uniforms of `Noise(seed=0, rows=index)`: the same in every run, on every
    machine, whatever the run's seed, so that what a judge holds out was never trained on.
    """
    noise = Noise(_SPLIT_SEED, torch.arange(_LENGTH), stream="digits split", dtype=torch.float64)
    order = noise.uniform("order").argsort()
    return order[:_TRAIN], order[_TRAIN:]


@gin.register
class Digits(Data):
    """The UCI digits, 8x8 grey, held in memory.

    Args:
        num_classes: 10, or 0 to leave the labels out.
        part: "train" (80%), "held_out" (20%, for judging) or "all"; see `digits_split`.
        omit: digits that are left out, such as (8, 9); the others keep their labels.
    """

    def __init__(self, num_classes: int = 0, part: str = "train", omit: tuple[int, ...] = ()) -> None:
        super().__init__((1, 8, 8), num_classes)
        if num_classes not in (0, 10):
            raise ConfigurationError(f"Digits.num_classes must be 10 or 0 (no labels), got {num_classes!r}")
        check_choice("Digits.part", part, ("train", "held_out", "all"))
        check_instance("Digits.omit", omit, (tuple, list))
        for digit in omit:
            check_integer("Digits.omit's entries", digit, low=0, high=9)
        if len(set(omit)) == 10:
            raise ConfigurationError("Digits.omit leaves no digit: keep at least one")
        self.part, self.omit = part, tuple(omit)
        self.class_names = [str(digit) for digit in range(num_classes)]

    def with_split(self, name: str) -> Digits:
        """ "train", "test" (the held-out ones) or "all"."""
        check_choice("--split", name, ("train", "test", "all"))
        return Digits(self.num_classes, "held_out" if name == "test" else name, self.omit)

    def open(self) -> Examples:
        images, labels = _read()
        train, held_out = digits_split()
        chosen = {"train": train, "held_out": held_out, "all": torch.arange(_LENGTH)}[self.part]
        chosen = chosen[~torch.isin(labels[chosen], torch.tensor(self.omit, dtype=torch.int64))]
        labels_of = labels[chosen] if self.num_classes else None
        return MemoryExamples(images[chosen], labels_of, self.class_names, _GREY_VALUES)


@cache
def _read() -> tuple[Tensor, Tensor]:
    """Images (1797, 1, 8, 8) uint8 and labels (1797,) of the shipped file, which all data sets copy from."""
    # late: reading files takes the bigger part of the import time
    import pyarrow.parquet

    from modules.data.images import decode_image

    if not _FILE.exists():
        raise DataError(f"{_FILE} is missing: reinstall the package, or run benchmarks/make_digits.py")
    table = pyarrow.parquet.read_table(_FILE)
    pictures = [decode_image(row["bytes"], (1, 8, 8)) for row in table["image"].to_pylist()]
    return torch.stack(pictures), torch.tensor(table["label"].to_pylist())
