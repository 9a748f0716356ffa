"""Every colour mode against values known by hand; sizes against pictures whose result is known."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from modules.core.checks import DataError
from modules.data.images import decode_image, image_size, read_unscaled, refuse_other_formats
from tests.data.broken_pictures import png


def encode(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def colour(data: bytes, channels: int) -> list[int]:
    """The one colour of a 4x4 picture."""
    pixels = decode_image(data, (channels, 4, 4))
    assert pixels.dtype == torch.uint8 and pixels.shape == (channels, 4, 4)
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist()


def plain(mode: str, value) -> Image.Image:
    return Image.new(mode, (4, 4), value)


def palette() -> Image.Image:
    picture = plain("P", 3)
    picture.putpalette([0] * 9 + [10, 20, 30])
    return picture


@pytest.mark.parametrize(
    ("data", "grey", "rgb", "rgba"),
    [
        (encode(plain("L", 77)), [77], [77] * 3, [77, 77, 77, 255]),
        (encode(plain("1", 1)), [255], [255] * 3, [255] * 4),
        # luma 0.299·200 + 0.587·100 + 0.114·50 = 124.2
        (encode(plain("RGB", (200, 100, 50))), [124], [200, 100, 50], [200, 100, 50, 255]),
        # alpha 51/255 = 0.2 on white: 0.2·100 + 0.8·255 = 224, 0.8·255 = 204; its luma 209.98
        (encode(plain("RGBA", (100, 0, 0, 51))), [210], [224, 204, 204], [100, 0, 0, 51]),
        # 102/255 = 0.4: 0.4·100 + 0.6·255 = 193
        (encode(plain("LA", (100, 102))), [193], [193] * 3, [100, 100, 100, 102]),
        (encode(palette()), [18], [10, 20, 30], [10, 20, 30, 255]),
        (encode(palette(), transparency=3), [255], [255] * 3, [10, 20, 30, 0]),
        # ink: no cyan, full magenta and yellow = red, whose luma is 0.299·255 = 76
        (encode(plain("CMYK", (0, 255, 255, 0)), "TIFF"), [76], [255, 0, 0], [255, 0, 0, 255]),
        (encode(plain("CMYK", (0, 0, 0, 55)), "TIFF"), [200], [200] * 3, [200, 200, 200, 255]),
        (encode(plain("I;16", 257 * 9), "PNG"), [9], [9] * 3, [9, 9, 9, 255]),
        (encode(plain("I", 257 * 9), "TIFF"), [9], [9] * 3, [9, 9, 9, 255]),
    ],
    ids=["L", "1", "RGB", "RGBA", "LA", "P", "P transparent", "CMYK", "CMYK black", "I;16", "I"],
)
def test_each_mode_gives_the_colour_it_means(data, grey, rgb, rgba):
    assert colour(data, 1) == grey
    assert colour(data, 3) == rgb
    assert colour(data, 4) == rgba


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(kind):
    ramp = Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256))
    pixels = decode_image(encode(ramp, kind), (1, 256, 256)).flatten().long()
    assert pixels[[0, 128, 129, 385, 386, 32767, 65406, 65407, 65535]].tolist() == [
        *[0, 0, 1, 1, 2, 127, 254, 255, 255]
    ]
    # 257 values for each grey but the ends, which the rounding halves
    counts = pixels.bincount()
    assert len(counts) == 256 and (counts[1:-1] == 257).all() and counts[0] == counts[-1] == 129


def test_what_has_no_range_is_refused():
    with pytest.raises(ValueError, match="floating-point"):
        decode_image(encode(plain("F", 0.5), "TIFF"), (1, 4, 4))
    with pytest.raises(ValueError, match="don't fit into 16 bits"):
        decode_image(encode(plain("I", 70000), "TIFF"), (1, 4, 4))


def test_the_centre_is_kept_and_the_rest_cropped():
    pixels = np.zeros((4, 10), dtype=np.uint8)
    pixels[:, 3:7] = np.arange(1, 17).reshape(4, 4)
    pixels[:, :3], pixels[:, 7:] = 200, 250  # beyond the centred square
    wide = Image.fromarray(pixels)
    assert torch.equal(decode_image(encode(wide), (1, 4, 4))[0], torch.arange(1, 17).reshape(4, 4))
    tall = wide.transpose(Image.Transpose.TRANSPOSE)
    assert torch.equal(decode_image(encode(tall), (1, 4, 4))[0], torch.arange(1, 17).reshape(4, 4).T)


def test_shrinking_averages():
    """A fine chessboard has nothing but its mean at an eighth of the size: no aliasing."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    shrunk = decode_image(encode(Image.fromarray(board)), (1, 8, 8)).float()
    assert (shrunk - 127.5).abs().max() <= 2


def test_scaling_keeps_a_ramp_in_place():
    """A linear ramp stays the same linear ramp, in coordinates of the picture, away from the border."""
    ramp = np.tile((np.arange(64) + 0.5) * 4, (64, 1)).astype(np.uint8)
    for size in (16, 32, 128):
        pixels = decode_image(encode(Image.fromarray(ramp)), (1, size, size))[0].float()
        expected = (torch.arange(size) + 0.5) * 256 / size
        inner = slice(size // 8, -size // 8)
        assert (pixels[:, inner] - expected[inner]).abs().max() <= 1


def test_photos_are_turned_upright():
    pixels = np.zeros((4, 4), dtype=np.uint8)
    pixels[0, 3] = 255  # shown at the lower right after the turn by 90° clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decode_image(encode(Image.fromarray(pixels), exif=exif), (1, 4, 4))[0]
    assert shown.nonzero().tolist() == [[3, 3]]
    assert image_size(encode(Image.new("L", (7, 4)), exif=exif)) == (7, 4)
    assert image_size(encode(Image.new("L", (7, 4)))) == (4, 7)


# two pixels each, the first in the colour that the file calls transparent: depth, kind of colour, row, tRNS
TRANSPARENT = {
    "grey of 16 bits": (16, 0, struct.pack(">HH", 1000, 1001), struct.pack(">H", 1000), [4, 4, 4]),
    "grey of 4 bits": (4, 0, b"\x35", struct.pack(">H", 3), [85, 85, 85]),
    "grey of 2 bits": (2, 0, b"\x60", struct.pack(">H", 1), [170, 170, 170]),
    "grey of 1 bit": (1, 0, b"\x80", struct.pack(">H", 1), [0, 0, 0]),
    "grey of 8 bits": (8, 0, b"\x07\x09", struct.pack(">H", 7), [9, 9, 9]),
    "colours of 8 bits": (8, 2, b"\1\2\3\4\5\6", struct.pack(">HHH", 1, 2, 3), [4, 5, 6]),
    "colours of 16 bits": (
        *(16, 2, struct.pack(">6H", 1000, 2000, 3000, 257 * 4, 257 * 5, 257 * 66)),
        *(struct.pack(">HHH", 1000, 2000, 3000), [4, 5, 66]),
    ),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_the_transparent_colour_of_a_png_is_transparent_at_any_depth(kind):
    depth, colour, row, transparent, second = TRANSPARENT[kind]
    data = png(2, 1, depth, colour, zlib.compress(b"\0" + row), transparent)
    pixels = decode_image(data, (4, 1, 2))[:, 0]
    assert pixels[3].tolist() == [0, 255] and pixels[:3, 1].tolist() == second
    assert decode_image(data, (3, 1, 2))[:, 0].T.tolist() == [[255] * 3, second]


def test_a_file_in_its_own_size(tmp_path):
    Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3) * 257).save(tmp_path / "a.png")
    assert torch.equal(read_unscaled(tmp_path / "a.png", 1), torch.arange(6, dtype=torch.uint8).view(1, 2, 3))
    (tmp_path / "b.png").write_text("%!PS-Adobe-3.0 EPSF-3.0")
    with pytest.raises(DataError, match=r"b\.png cannot be read as a picture: it is no picture in a format"):
        read_unscaled(tmp_path / "b.png", 1)


def test_libraries_that_open_pictures_know_no_other_formats(monkeypatch):
    """EPS would start another program."""
    Image.init()
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    eps = encode(Image.new("L", (4, 4)), "EPS")
    assert Image.open(io.BytesIO(eps)).format == "EPS"
    refuse_other_formats()
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(eps))
    assert Image.open(io.BytesIO(encode(Image.new("L", (4, 4))))).size == (4, 4)
