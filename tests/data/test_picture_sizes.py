"""The filter that pictures change their size by: Pillow's bicubic, known by what it does to an edge."""

from __future__ import annotations

import numpy as np
from PIL import Image

from modules.data.images import resize_and_crop


def _row(values: list[int], size: int) -> list[int]:
    """The middle row of a picture of columns that is brought to a size."""
    picture = Image.new("L", (len(values), len(values)))
    picture.putdata(values * len(values))
    return np.asarray(resize_and_crop(picture, size, size))[size // 2].tolist()


def test_an_edge_overshoots_by_the_cubics_share():
    """Twice as large, beside an edge of 128 the cubic of a = -1/2 is 0.0703 too far, a line wouldn't be."""
    row = _row([64, 64, 64, 192, 192, 192], 12)
    assert row[4] == 64 - 9 and row[7] == 192 + 9
    assert row[:3] == [64] * 3 and row[-3:] == [192] * 3


def test_columns_too_fine_become_their_mean():
    assert abs(_row([255, 0, 255, 0, 255, 0, 255, 0, 255], 3)[1] - 127.5) < 30
