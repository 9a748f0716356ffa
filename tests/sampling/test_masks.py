"""Masks by name and from pictures: what is known where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from modules.core.checks import ConfigurationError, DataError
from modules.sampling import masks

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
