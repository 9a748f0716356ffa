"""Pictures show each image in its place, quantized as evaluation does it (spec §6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from modules.data.quantization import to_bytes
from modules.report.pictures import grid, image_of, save_samples, shown_levels


def test_to_bytes_clamps_and_rounds():
    x = torch.tensor([-7.0, -1.0, -0.99, 0.0, 0.99, 1.0, 7.0])
    assert to_bytes(x).tolist() == [0, 0, 1, 128, 254, 255, 255]


def test_bytes_of_a_data_set_survive():
    """x/127.5 - 1 is what data sets give out."""
    values = torch.arange(256)
    assert torch.equal(to_bytes(values / 127.5 - 1), values.to(torch.uint8))


@pytest.mark.parametrize(
    ("channels", "mode", "width"), [(1, "L", 4), (3, "RGB", 4), (4, "RGBA", 4), (2, "L", 8)]
)
def test_channels_make_the_mode(channels, mode, width):
    picture = image_of(torch.zeros(channels, 5, 4))
    assert (picture.mode, picture.size) == (mode, (width, 5))


def test_colours_and_orientation():
    image = -torch.ones(3, 2, 3)
    image[0, 0, 2] = 1  # red, upper right
    assert np.asarray(image_of(image))[0, 2].tolist() == [255, 0, 0]
    assert int(np.asarray(image_of(image)).sum()) == 255


def test_a_grid_holds_each_image_in_reading_order():
    images = (torch.arange(5) / 2 - 1)[:, None, None, None].expand(5, 1, 3, 3)
    page = np.asarray(grid(images, 3))
    assert page.shape == (2 * 5 + 2, 3 * 5 + 2)
    centres = [page[3 + 5 * (n // 3), 3 + 5 * (n % 3)] for n in range(5)]
    assert centres == [0, 64, 128, 191, 255]


def test_of_a_thousand_levels_a_few_are_shown(tmp_path):
    """The strip has the first, the last and some between, and the samples: 13 tiles, evenly darker."""
    shades = [torch.full((1, 1, 4, 4), -1 + 2 * i / 1000) for i in range(1001)]
    save_samples(torch.ones(1, 1, 4, 4), shades, tmp_path / "page.png")
    some = shown_levels(1000)
    assert len(some) == 12 and some[0] == 0 and some[-1] == 1000
    save_samples(torch.ones(1, 1, 4, 4), [shades[i] for i in some], tmp_path / "some.png", some)
    assert (tmp_path / "some.png").read_bytes() == (tmp_path / "page.png").read_bytes()
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    shown = list(dict.fromkeys(picture[picture.shape[0] // 2].tolist()))
    # the samples' own picture comes first, white; then 0 for noise, and up; 90 is the paper
    assert len(set(shown) - {90}) == 12 and {0, 255} <= set(shown)


def test_samples_without_levels_are_drawn_alone(tmp_path):
    save_samples(torch.ones(4, 1, 4, 4), [], tmp_path / "page.png")
    page = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert set(np.unique(page).tolist()) - {90} == {255} and (page == 255).any()
    save_samples(torch.ones(4, 2), [], tmp_path / "points.png")
    assert (tmp_path / "points.png").stat().st_size > 500


@pytest.mark.parametrize("num", [1, 4, 7])
def test_the_samples_page_has_samples_and_levels(tmp_path, num):
    samples = torch.ones(num, 1, 4, 4)
    levels = [torch.full((num, 1, 4, 4), value) for value in (-1.0, 0.0)]
    save_samples(samples, levels, tmp_path / "page.png")
    page = np.asarray(Image.open(tmp_path / "page.png"))
    rows = -(-num // max(1, round(num**0.5)))
    scale = page.shape[0] // (6 * rows + 2)
    assert page.shape[0] == scale * (6 * rows + 2) and page.shape[0] > 300
    assert {0, 128, 255} <= set(np.unique(page).tolist())
    area = {value: int((page == value).sum()) / (16 * scale**2) for value in (0, 128, 255)}
    shown = min(rows, num)
    assert area == {0: shown, 128: shown, 255: num + shown}


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_points_are_scattered(tmp_path, dim):
    left, right = torch.full((50, dim), -0.9), torch.full((50, dim), 0.9)
    save_samples(left, [left, right], tmp_path / "page.png")
    ink = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"), int)
    blue = (ink[..., 2] - ink[..., 0]) > 30
    width = ink.shape[1]
    at = np.nonzero(blue.any(0))[0] / width * 3
    # panels: level 1 to the left, level 0 to the right, samples to the left
    assert at.min() < 0.3 and 2.0 < at.max() < 2.3
    assert ((at > 1.8) & (at < 2.0)).any() and not ((at > 0.3) & (at < 1.7)).any()
