"""Masks of images, 1 = known: some by name, others from pictures (spec §8)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import ConfigurationError, DataError, nearest

if TYPE_CHECKING:  # torch is imported late, so that --help needs none
    from torch import Tensor

NAMES = {
    "left": "the left half is known",
    "right": "the right half is known",
    "top": "the upper half is known",
    "bottom": "the lower half is known",
    "box": "all but a centred box of half the sides is known",
    "outside": "a centred box of half the sides is known",
    "stripes": "every other quarter of the columns is known",
    "random": "a random half of the pixels is known, another for each image",
    "all": "everything is known",
    "none": "nothing is known: plain sampling",
}


def named(name: str, num: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """A mask for each of num images, bool (num, 1, h, w).

    Args:
        name: one of NAMES.
        shape: (channels, height, width).
        seed: of "random", whose mask i depends on (seed, i) alone.
    """
    import torch

    from modules.core.noise import Noise

    _, height, width = shape
    if name == "random":
        draws = Noise(seed, torch.arange(num), stream="mask").uniform("pixels", (height, width))
        return (draws < 0.5)[:, None]
    # cell centres in units of the sides: down (h, 1) and right (1, w)
    down = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    right = ((torch.arange(width) + 0.5) / width)[None].expand(height, width)
    inside = ((down - 0.5).abs() < 0.25) & ((right - 0.5).abs() < 0.25)
    known = {
        "left": right < 0.5,
        "right": right >= 0.5,
        "top": down < 0.5,
        "bottom": down >= 0.5,
        "box": ~inside,
        "outside": inside,
        "stripes": (right * 4).long() % 2 == 0,
        "all": torch.ones_like(inside),
        "none": torch.zeros_like(inside),
    }
    return known[name].expand(num, 1, height, width)


def read(path: Path, num: int, shape: tuple[int, ...]) -> Tensor:
    """The mask of a picture, white = known, for each of num images: bool (num, 1, h, w).

    It is read as any picture is (modules/data/images.py): colours as grey, what is transparent as white.

    Raises:
        DataError: a file that is no picture, of another size than the images, or white or black all over.
    """
    from modules.data.images import read_unscaled

    grey = read_unscaled(path, 1)
    _, height, width = grey.shape
    if (height, width) != tuple(shape[1:]):
        raise DataError(
            f"mask {path} has {width}x{height} pixels, the model's images {shape[2]}x{shape[1]}: "
            "a mask isn't resized, draw it in their size"
        )
    known = grey >= 128
    if bool(known.all()) or not bool(known.any()):
        all_or_none = "everything" if bool(known.all()) else "nothing"
        raise DataError(
            f"mask {path} says that {all_or_none} is known: paint what is known white and the rest black "
            f"(what is transparent counts as white), or name the mask {'all' if known.all() else 'none'}"
        )
    return known.expand(num, 1, height, width)


def of(given: str, num: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """The mask of a name or of a file."""
    if given in NAMES:
        return named(given, num, shape, seed)
    if Path(given).is_file():
        return read(Path(given), num, shape)
    raise ConfigurationError(
        f"no mask and no file is called {given!r}.{nearest(given, list(NAMES))} Masks: {', '.join(NAMES)}"
    )
