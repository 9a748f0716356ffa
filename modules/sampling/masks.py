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

    Raises:
        DataError: a file that is no picture, or of another size than the images.
    """
    import numpy as np
    import torch
    from PIL import Image

    try:
        with Image.open(path) as picture:
            grey = picture.convert("L")
    except OSError as fault:
        raise DataError(f"mask {path} cannot be read as a picture: {fault}") from fault
    if grey.size != (shape[2], shape[1]):
        raise DataError(
            f"mask {path} has {grey.width}x{grey.height} pixels, the model's images {shape[2]}x{shape[1]}: "
            "a mask isn't resized, draw it in their size"
        )
    known = torch.from_numpy(np.array(grey)) >= 128
    return known.expand(num, 1, *known.shape)


def of(given: str, num: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """The mask of a name or of a file."""
    if given in NAMES:
        return named(given, num, shape, seed)
    if Path(given).is_file():
        return read(Path(given), num, shape)
    raise ConfigurationError(
        f"no mask and no file is called {given!r}.{nearest(given, list(NAMES))} Masks: {', '.join(NAMES)}"
    )
