"""The one reader of pictures: encoded, of any mode and size, to (channels, height, width) of 8 bits.

Colour: the target has 1 (grey), 3 (RGB) or 4 (RGBA) channels. Palettes, CMYK and other colour spaces
go through RGB; grey from colour is ITU-R 601 luma. Where the target has no alpha, a transparent
picture is laid on white; where it has, an opaque picture gets 255. 16-bit grey v becomes
round(v/257), so that 65535 becomes 255 (not clipped); of colours of 16 bits Pillow keeps the upper 8.
Photos are turned upright by their EXIF tag.

Size: the largest centred window with the target's aspect is scaled to the target, which is a resize
of the fitting side and a centre crop in one step. The filter is Pillow's bicubic, whose support grows
with the factor, so enlarging interpolates and shrinking averages without aliasing.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.data.quantization import to_unit_range

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "TGA", "AVIF")
"""What is read. Pillow knows more, but hands some (EPS) to programs of the system, which run them."""

ENDINGS = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tga", ".icb", ".vda"),
    *(".vst", ".avif", ".avifs"),
}
"""Of files in these formats."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode by number of channels."""


class _NoPictureError(ValueError):
    """What is in no format that is read."""


def decode_image(source: bytes | str, shape: tuple[int, ...]) -> Tensor:
    """A picture as uint8 (channels, height, width).

    Args:
        source: the encoded bytes, of one of FORMATS, or the path of a file. Of an animation the first frame.
        shape: (channels, height, width) with 1, 3 or 4 channels.
    Raises:
        OSError, ValueError and other errors of Pillow, for what cannot be decoded.
    """
    with _opened(source) as picture:
        return fit_image(picture, shape)


def image_size(source: bytes | str) -> tuple[int, int]:
    """(height, width) of a picture, upright; of its pixels nothing is read. Raises as decode_image."""
    with _opened(source, load=False) as picture:
        width, height = picture.size
        return (width, height) if _orientation(picture) in _TURNED else (height, width)


def is_picture(path: Path) -> bool:
    """Whether a file is to be taken for a picture: by its ending, or else by its first bytes."""
    return path.suffix.lower() in ENDINGS or begins_like_a_picture(path)


def begins_like_a_picture(path: Path) -> bool:
    """Whether a file's first bytes are of a format that is read and says its name there (TGA doesn't)."""
    try:
        with _opened(str(path), load=False, formats=[name for name in _known_formats() if name != "TGA"]):
            return True
    except (_NoPictureError, OSError):
        return False
    except Exception:  # one that is too large, or broken: whoever decodes it says so
        return True


def read_image(path: Path, shape: tuple[int, ...]) -> Tensor:
    """A picture's file as float32 (channels, height, width) in [-1, 1]; see decode_image.

    Raises:
        DataError: what is no picture, by its name.
    """
    with _named(path):
        return to_unit_range(decode_image(str(path), shape))


def read_unscaled(path: Path, channels: int) -> Tensor:
    """A picture's file in its own size, upright, as uint8 (channels, height, width). Raises as read_image."""
    with _named(path):
        return decode_image(str(path), (channels, *image_size(str(path))))


def refuse_other_formats() -> None:
    """Have Pillow know FORMATS alone in this process: where a library opens what strangers send."""
    from PIL import Image

    Image.ID[:] = _known_formats()


@contextmanager
def _opened(source: bytes | str, load: bool = True, formats: list[str] | None = None) -> Iterator[Image]:
    """The picture of bytes or of a file, its pixels read where `load` says so, of one of FORMATS or fewer."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats or _known_formats()
        ) as picture:
            stored = _stored(picture)
            if load:
                picture.load()
            _mend_transparency(picture, stored)
            yield picture
    except UnidentifiedImageError:
        raise _NoPictureError(
            f"it is no picture in a format that is read: {', '.join(_known_formats())}"
        ) from None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Faults of a file's picture inside as one DataError that names it."""
    try:
        yield
    except Exception as fault:  # Pillow's readers raise errors of many kinds
        raise DataError(f"{path} cannot be read as a picture: {fault}") from fault


@cache
def _known_formats() -> list[str]:
    """Of FORMATS those that this build of Pillow can read."""
    from PIL import Image

    Image.init()
    # what Pillow warns of either fails a moment later or does no harm; several lines each, from threads
    warnings.filterwarnings("ignore", module=r"PIL\b")
    return [name for name in FORMATS if name in Image.OPEN]


def fit_image(picture: Image, shape: tuple[int, ...]) -> Tensor:
    """A decoded picture as uint8 (channels, height, width); see the head of this file."""
    channels, height, width = shape
    picture = resize_and_crop(to_mode(_upright(picture), MODES[channels]), height, width)
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1)


def to_mode(picture: Image, mode: str) -> Image:
    """The picture in mode "L", "RGB" or "RGBA"."""
    if picture.mode == mode and "transparency" not in picture.info:
        return picture
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; convert the picture to 8 or 16 bits")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        picture = _from_16_bit(picture, picture.info.get("transparency"))
    if picture.mode in ("La", "RGBa"):  # alpha multiplied in: undone before anything else
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
    transparent = picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info
    if not transparent:
        # Pillow goes from palette and CMYK to grey directly or by RGB, depending on its version
        picture = picture if picture.mode in ("1", "L") else picture.convert("RGB")
        return picture.convert(mode)
    picture = picture.convert("RGBA")
    return picture if mode == "RGBA" else _on_white(picture).convert(mode)


def resize_and_crop(picture: Image, height: int, width: int) -> Image:
    """The largest centred window of aspect width:height, scaled to height x width."""
    from PIL import Image

    if picture.size == (width, height):
        return picture
    scale = min(picture.width / width, picture.height / height)
    left, top = (picture.width - scale * width) / 2, (picture.height - scale * height) / 2
    window = (left, top, left + scale * width, top + scale * height)
    return picture.resize((width, height), Image.Resampling.BICUBIC, box=window)


_TURNED = (5, 6, 7, 8)
"""Values of EXIF's Orientation by which width and height change places."""


def _orientation(picture: Image) -> int:
    from PIL import ExifTags

    return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _upright(picture: Image) -> Image:
    from PIL import ImageOps

    return picture if _orientation(picture) == 1 else ImageOps.exif_transpose(picture)


def _from_16_bit(picture: Image, transparent: object) -> Image:
    """Grey of 16 bits, in mode "I" or "I;16...", to mode "L"; with a transparent value to "LA"."""
    from PIL import Image

    values: Any = np.asarray(picture).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError(f"grey values {values.min()}..{values.max()} don't fit into 16 bits")
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _stored(picture: Image) -> str:
    """How the pixels of a picture that was not read yet are stored: Pillow's raw mode, such as "L;4"."""
    tiles = getattr(picture, "tile", [])
    return tiles[0][3] if picture.format == "PNG" and tiles and isinstance(tiles[0][3], str) else ""


def _mend_transparency(picture: Image, stored: str) -> None:
    """A PNG names its transparent colour as it is stored, Pillow gives the pixels in 8 bits."""
    colour = picture.info.get("transparency")
    if isinstance(colour, int) and stored in ("L;2", "L;4"):
        picture.info["transparency"] = colour * {"L;2": 85, "L;4": 17}[stored]
    elif isinstance(colour, tuple) and stored == "RGB;16B":
        picture.info["transparency"] = tuple(value >> 8 for value in colour)


def _on_white(picture: Image) -> Image:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
