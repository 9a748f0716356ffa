"""Every colour mode against values known by hand; sizes against pictures whose result is known."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from modules.data.images import decode_image


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
