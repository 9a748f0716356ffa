"""From an encoded picture of any mode and size to (channels, height, width) of 8 bits.

Colour: the target has 1 (grey), 3 (RGB) or 4 (RGBA) channels. Palettes, CMYK and other colour spaces
go through RGB; grey from colour is ITU-R 601 luma. Where the target has no alpha, a transparent
picture is laid on white; where it has, an opaque picture gets 255. 16-bit grey v becomes
round(v/257), so that 65535 becomes 255 (not clipped). Photos are turned upright by their EXIF tag.

Size: the largest centred window with the target's aspect is scaled to the target, which is a resize
of the fitting side and a centre crop in one step. The filter is Pillow's bicubic, whose support grows
with the factor, so enlarging interpolates and shrinking averages without aliasing.
"""

from __future__ import annotations

import io
import warnings
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


def decode_image(source: bytes | str, shape: tuple[int, ...]) -> Tensor:
    """A picture as uint8 (channels, height, width).

    Args:
        source: the encoded bytes, of one of FORMATS, or the path of a file. Of an animation the first frame.
        shape: (channels, height, width) with 1, 3 or 4 channels.
    Raises:
        OSError, ValueError and other errors of Pillow, for what cannot be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(opened, formats=_known_formats()) as picture:
            picture.load()
            return fit_image(picture, shape)
    except UnidentifiedImageError:
        raise ValueError(
            f"it is no picture in a format that is read: {', '.join(_known_formats())}"
        ) from None


def is_picture(path: Path) -> bool:
    """Whether a file is to be taken for a picture: by its ending, or else by its first bytes."""
    return path.suffix.lower() in ENDINGS or begins_like_a_picture(path)


def begins_like_a_picture(path: Path) -> bool:
    """Whether a file's first bytes are of a format that is read and says its name there (TGA doesn't)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=[name for name in _known_formats() if name != "TGA"]):
            return True
    except (UnidentifiedImageError, OSError):
        return False
    except Exception:  # one that is too large, or broken: whoever decodes it says so
        return True


def read_image(path: Path, shape: tuple[int, ...]) -> Tensor:
    """A picture's file as float32 (channels, height, width) in [-1, 1]; see decode_image.

    Raises:
        DataError: what is no picture, by its name.
    """
    try:
        return to_unit_range(decode_image(str(path), shape))
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
        picture = _from_16_bit(picture)
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


def _upright(picture: Image) -> Image:
    from PIL import ExifTags, ImageOps

    if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def _from_16_bit(picture: Image) -> Image:
    """Grey of 16 bits, in mode "I" or "I;16...", to mode "L"."""
    from PIL import Image

    values: Any = np.asarray(picture).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError(f"grey values {values.min()}..{values.max()} don't fit into 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _on_white(picture: Image) -> Image:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
