"""The background under the data: its law, its share of the rows, its weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.losses.background import Background

torch.set_num_threads(1)


def _noise(count: int) -> Noise:
    return Noise(5, torch.arange(count), 0, "train", torch.float64)


def _covariance(shape: tuple[int, ...]) -> Tensor:
    """Σ of the grids' noises, written out place by place: 4x2 pixels have grids of 1x1, 2x2 and their own."""
    if len(shape) == 1:
        return torch.eye(shape[0])
    pixels = [(i, j) for i in range(4) for j in range(2)]
    same = [[1 + (i // 2 == k // 2 and j == m) + ((i, j) == (k, m)) for k, m in pixels] for i, j in pixels]
    return torch.block_diag(*[torch.tensor(same, dtype=torch.get_default_dtype())] * shape[0])


@pytest.mark.parametrize("shape", [(2, 4, 2), (3,)])
def test_draws_have_the_covariance_that_the_docstring_gives(shape: tuple[int, ...]) -> None:
    like = torch.zeros(40_000, *shape, dtype=torch.float64)
    draws = Background(std=0.5).draw(like, _noise(len(like)))
    assert draws.shape == like.shape
    found = draws.flatten(1).T.cov()
    torch.testing.assert_close(found, 0.25 * _covariance(shape).double(), atol=0.02, rtol=0)
    assert draws.mean(0).abs().max() < 0.02


def test_a_share_of_rows_is_drawn_and_weighed_as_the_mixture_asks() -> None:
    x = torch.full((20_000, 1, 4, 4), 7.0, dtype=torch.float64)
    background = Background(mass=0.05, share=0.2, std=0.3)
    mixed, weights = background.mix(x, _noise(len(x)))
    kept = (mixed == x).flatten(1).all(1)
    assert abs(kept.double().mean() - 0.8) < 0.01
    torch.testing.assert_close(weights[kept], torch.full_like(weights[kept], 0.95 / 0.8))
    torch.testing.assert_close(weights[~kept], torch.full_like(weights[~kept], 0.05 / 0.2))
    assert torch.equal(mixed[~kept], background.draw(x, _noise(len(x)))[~kept])


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"mass": 0.0}, "mass"), ({"mass": 1.0}, "mass"), ({"share": 0.0}, "share"), ({"std": 0.0}, "std")],
)
def test_numbers_that_are_none_are_named(settings: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Background.{name}"):
        Background(**settings)
