"""Masks by name and from pictures: what is known where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from modules.core.checks import ConfigurationError, DataError
from modules.sampling import masks
from tests.data.broken_pictures import bomb

SHAPE = (3, 8, 12)


def test_named_masks_know_what_their_names_say() -> None:
    known = {name: masks.named(name, 2, SHAPE) for name in masks.NAMES}
    assert all(m.shape == (2, 1, 8, 12) and m.dtype == torch.bool for m in known.values())
    one = {name: m[0, 0] for name, m in known.items()}
    assert one["left"][:, :6].all() and not one["left"][:, 6:].any()
    assert one["top"][:4].all() and not one["top"][4:].any()
    assert torch.equal(one["right"], ~one["left"]) and torch.equal(one["bottom"], ~one["top"])
    assert one["outside"][2:6, 3:9].all() and one["outside"].sum() == 24
    assert torch.equal(one["box"], ~one["outside"])
    assert one["stripes"][0].tolist() == [True] * 3 + [False] * 3 + [True] * 3 + [False] * 3
    assert one["all"].all() and not one["none"].any()


def test_random_masks_are_halves_of_their_own() -> None:
    known = masks.named("random", 400, SHAPE, seed=1)
    assert known.float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / (400 * 96) ** 0.5)
    assert not torch.equal(known[0], known[1])
    assert torch.equal(masks.named("random", 3, SHAPE, seed=1), known[:3])
    assert not torch.equal(masks.named("random", 3, SHAPE, seed=2), known[:3])


def test_a_picture_is_a_mask_of_its_own_size(tmp_path) -> None:
    pixels = np.zeros((8, 12), np.uint8)
    pixels[1, 2:5] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    known = masks.of(str(tmp_path / "mask.png"), 2, SHAPE)
    assert known.shape == (2, 1, 8, 12) and known[1, 0].nonzero().tolist() == [[1, 2], [1, 3], [1, 4]]
    with pytest.raises(DataError, match=r"mask\.png has 12x8 pixels, the model's images 8x8"):
        masks.of(str(tmp_path / "mask.png"), 2, (1, 8, 8))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png cannot be read as a picture"):
        masks.of(str(tmp_path / "text.png"), 2, SHAPE)
    with pytest.raises(ConfigurationError, match=r"'lefft'\. Did you mean 'left'\?"):
        masks.of("lefft", 2, SHAPE)


def _half(value: int, dtype: type = np.uint8) -> np.ndarray:
    """8 x 12, the left half `value`, the rest 0."""
    return np.repeat(np.array([[value] * 6 + [0] * 6], dtype), 8, 0)


def _with_alpha() -> Image.Image:
    """Black all over, its left half fully transparent: on white."""
    picture = Image.new("LA", (12, 8), (0, 255))
    picture.putalpha(Image.fromarray(255 - _half(255)))
    return picture


EXIF = Image.Exif()
EXIF[0x0112] = 3  # upside down: by half a turn
LEFT_HALVES = {
    "grey": (Image.fromarray(_half(255)), {}),
    "grey of 16 bits": (Image.fromarray(_half(65535, np.uint16)), {}),
    "one bit": (Image.fromarray(_half(255)).convert("1"), {}),
    "transparent": (_with_alpha(), {}),
    "turned by EXIF": (Image.fromarray(_half(255)[:, ::-1]), {"exif": EXIF}),
}


@pytest.mark.parametrize("kind", LEFT_HALVES)
def test_a_mask_is_read_as_any_picture_is(tmp_path, kind) -> None:
    picture, options = LEFT_HALVES[kind]
    picture.save(tmp_path / "mask.png", **options)
    known = masks.of(str(tmp_path / "mask.png"), 1, SHAPE)
    assert torch.equal(known, masks.named("left", 1, SHAPE))


def test_grey_of_16_bits_is_known_from_its_own_middle_on(tmp_path) -> None:
    """Clipped to 8 bits, 300 of 65535 would be white."""
    pixels = _half(65535, np.uint16)
    pixels[:, 6:] = 300
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert torch.equal(masks.of(str(tmp_path / "mask.png"), 1, SHAPE), masks.named("left", 1, SHAPE))


def _painted_on_nothing() -> Image.Image:
    """White paint on the left, the rest transparent: on white it is all white."""
    picture = Image.new("LA", (12, 8), (255, 0))
    picture.putalpha(Image.fromarray(_half(255)))
    return picture


REFUSED = {
    "everything": (Image.new("L", (12, 8), 255), "says that everything is known: .* or name the mask all"),
    "nothing": (Image.new("L", (12, 8), 0), "says that nothing is known: .* or name the mask none"),
    "white on nothing": (
        _painted_on_nothing(),
        r"everything is known: .* \(what is transparent counts as wh",
    ),
    "a program": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 8\n",
        "no picture in a format that is read",
    ),
    "200 megapixels": (bomb(20_000, 10_000), r"mask\.png cannot be read as a picture: .*200000000 pixels"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_picture_that_is_no_mask_is_one_line(tmp_path, kind) -> None:
    picture, words = REFUSED[kind]
    path = tmp_path / "mask.png"
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        picture.save(path)
    with pytest.raises(DataError, match=words) as caught:
        masks.of(str(path), 1, SHAPE)
    assert "\n" not in str(caught.value)


def test_a_box_of_half_of_six_is_the_two_in_the_middle() -> None:
    """Pixels whose centres lie on its edge are outside of it."""
    inside = masks.named("outside", 1, (1, 6, 6))[0, 0]
    assert inside.nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_grey_is_known_from_128_on_and_random_masks_have_the_seed_0(tmp_path) -> None:
    pixels = np.zeros((8, 12), np.uint8)
    pixels[:, :6], pixels[:, 6:] = 128, 127
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert torch.equal(masks.of(str(tmp_path / "mask.png"), 2, SHAPE), masks.named("left", 2, SHAPE))
    first = masks.named("random", 3, SHAPE, seed=0)
    assert torch.equal(masks.named("random", 3, SHAPE), first)
    assert torch.equal(masks.of("random", 3, SHAPE), first)
    other = masks.of("random", 3, SHAPE, seed=4)
    assert torch.equal(other, masks.named("random", 3, SHAPE, seed=4)) and not torch.equal(other, first)
