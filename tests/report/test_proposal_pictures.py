"""The picture of proposals and revised samples: a row each, the cleanest levels first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from modules.report.proposal_pictures import COLUMNS, save_proposals

NAMES = ("noisier", "proposals", "revised", "data")


def test_rows_are_entries_and_columns_levels(tmp_path: Path) -> None:
    """Flat 6x6 images, row r and sample i of grey 40 r + 8 i; a page of 34 pixels magnified seven times."""
    t = torch.tensor([3, 1, 5, 2])
    grey = 40.0 * torch.arange(4)[:, None] + 8.0 * torch.arange(4)
    shown = {
        n: (g / 127.5 - 1)[:, None, None, None].expand(4, 1, 6, 6) for n, g in zip(NAMES, grey, strict=True)
    }
    save_proposals(shown, t, tmp_path / "p.png")
    pixels = np.asarray(Image.open(tmp_path / "p.png"))
    assert pixels.shape == (34 * 7, 34 * 7)
    middles = pixels[7 * 5 :: 7 * 8, 7 * 5 :: 7 * 8]
    assert np.array_equal(middles, grey[:, [1, 3, 0, 2]].numpy())


def test_a_large_batch_is_shown_from_all_its_levels(tmp_path: Path) -> None:
    """64 samples at levels 1..6, grey by level: 16 columns from the first level to the last."""
    t = torch.arange(64) % 6 + 1
    shown = {"data": (40.0 * t / 127.5 - 1)[:, None, None, None].expand(64, 1, 6, 6)}
    save_proposals(shown, t, tmp_path / "p.png")
    pixels = np.asarray(Image.open(tmp_path / "p.png"))
    factor = 240 // 10
    levels = pixels[factor * 5, factor * 5 :: factor * 8] // 40
    assert len(levels) == COLUMNS and (np.diff(levels.astype(int)) >= 0).all()
    assert set(levels.tolist()) == {1, 2, 3, 4, 5, 6}


def test_points_have_a_panel_an_entry(tmp_path: Path) -> None:
    points = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    for count in (1, 4):
        save_proposals(dict.fromkeys(NAMES[:count], points), torch.ones(100), tmp_path / f"{count}.png")
    one, four = (Image.open(tmp_path / f"{count}.png").size for count in (1, 4))
    assert four[1] == one[1] and four[0] > 3.9 * one[0]
