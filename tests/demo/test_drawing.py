"""The canvas shows an image's pixels, and what is painted on it becomes the mask of those pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from modules.core.checks import ConfigurationError
from modules.demo.drawing import CANVAS, canvas, completed, known_part

GREY, COLOUR = (1, 8, 8), (3, 6, 9)


def _layer(width: int, height: int, *boxes: tuple[int, int, int, int]) -> Image.Image:
    """A transparent layer with boxes (left, top, right, bottom; ends excluded) of half-opaque paint."""
    layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    for left, top, right, bottom in boxes:
        ImageDraw.Draw(layer).rectangle((left, top, right - 1, bottom - 1), fill=(255, 0, 0, 128))
    return layer


@pytest.mark.parametrize("shape", [GREY, COLOUR, (4, 8, 8), (3, 1000, 20)])
def test_a_canvas_is_the_image_in_large_hard_pixels(shape):
    image = torch.rand(shape) * 2 - 1
    picture = canvas(image)
    factor = max(1, CANVAS // shape[1])
    assert picture.size == (shape[2] * factor, shape[1] * factor)
    pixels = np.asarray(picture).reshape(shape[1], factor, shape[2], factor, -1)
    assert (pixels == pixels[:, :1, :, :1]).all() and len(np.unique(pixels)) > 20


def test_paint_hides_the_pixels_it_covers():
    painted = _layer(400, 400, (100, 50, 200, 100))  # of 50 each: columns 2 and 3 of row 1
    expected = torch.ones(8, 8, dtype=torch.bool)
    expected[1, 2:4] = False
    assert torch.equal(known_part([painted], "all", GREY, 0), expected)
    # the editor's canvas may have any size, and another layer adds to the first
    both = [painted.resize((200, 200), Image.Resampling.NEAREST), _layer(80, 80, (0, 70, 10, 80))]
    expected[7, 0] = False
    assert torch.equal(known_part(both, "all", GREY, 0), expected)


def test_a_touched_pixel_counts_from_a_quarter_on():
    barely, enough = _layer(400, 400, (0, 0, 50, 11)), _layer(400, 400, (0, 0, 50, 14))
    assert bool(known_part([barely], "all", GREY, 0).all())
    assert known_part([enough], "all", GREY, 0).sum() == 63


def test_width_and_height_keep_their_places():
    known = known_part([_layer(90, 60, (80, 0, 90, 20))], "all", COLOUR, 0)
    assert known.shape == (6, 9) and (~known).nonzero().tolist() == [[0, 8], [1, 8]]


def test_a_mask_by_name_and_paint_add_up():
    known = known_part([_layer(80, 80, (0, 0, 10, 10))], "left", GREY, 0)
    assert not known[:, 4:].any() and known[:, :4].sum() == 31 and not known[0, 0]
    assert known_part([], "all", GREY, 0).all()
    one, other = (known_part([], "random", GREY, seed) for seed in (0, 1))
    assert not torch.equal(one, other)
    with pytest.raises(ConfigurationError, match="the mask must be one of 'left'"):
        known_part([], "lefft", GREY, 0)


def test_the_page_of_completions_holds_each_in_its_place():
    image, known = torch.ones(1, 8, 8), torch.zeros(8, 8, dtype=torch.bool)
    known[:, :4] = True
    picture = completed(image, known, torch.stack([-image] * 6), columns=6)
    pixels = np.asarray(picture)
    factor = picture.height // 22
    assert pixels.shape == (22 * factor, 62 * factor)
    cells = pixels[factor // 2 :: factor, factor // 2 :: factor]
    assert (cells[2:10, 2:10] == 255).all()
    assert (cells[2:10, 12:16] == 255).all() and (cells[2:10, 16:20] == 128).all()
    assert (cells[2:10, 22:30] == 0).all() and (cells[12:20, 12:20] == 0).all()
