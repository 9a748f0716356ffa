"""Outliers made from inliers are what their names say."""

from __future__ import annotations

import pytest
import torch

from modules.analysis.detection import by_way_of, make
from modules.core.checks import ConfigurationError
from modules.data.quantization import to_unit_range

IMAGES = to_unit_range((torch.arange(6 * 25).reshape(6, 1, 5, 5) % 256).to(torch.uint8))


def test_constant_images_have_one_grey_each():
    made = make("constant", IMAGES, seed=0)
    assert torch.equal(made, made[:, :, :1, :1].expand_as(made))
    assert len(made[:, 0, 0, 0].unique()) == len(made)


def test_shuffled_images_keep_their_values_and_lose_their_places():
    made = make("shuffled", IMAGES, seed=0)
    torch.testing.assert_close(made.flatten(1).sort(1).values, IMAGES.flatten(1).sort(1).values)
    assert (made != IMAGES).flatten(1).any(1).all()
    first, second = (values.argsort() for values in made[:2].flatten(1))
    assert not torch.equal(first, second)  # an order of its own for each


def test_shifted_images_are_two_pixels_away_in_one_of_four_directions():
    made = make("shifted", IMAGES.repeat(20, 1, 1, 1), seed=0)
    inner = made[:, :, 2, 2].reshape(20, 6)
    x = IMAGES[:, 0]
    moves = {(dy, dx): x[:, 2 + dy, 2 + dx] for dy, dx in ((2, 0), (-2, 0), (0, 2), (0, -2))}
    pairs = [(i, value) for row in inner for i, value in enumerate(row)]
    seen = {move for i, value in pairs for move, at in moves.items() if at[i] == value}
    assert seen == set(moves)
    assert all(any(at[i] == value for at in moves.values()) for i, value in pairs)


def test_points_cannot_be_shifted():
    with pytest.raises(ConfigurationError, match="only images can be shifted"):
        make("shifted", torch.zeros(3, 2), seed=0)


def test_an_image_is_never_mixed_with_itself():
    """Of two images both mixtures are the one between them, whatever the seed; of three each is of two."""
    two = torch.tensor([[-0.8, 0.2], [0.4, -0.6]])
    three = torch.tensor([[0.0, 0.0], [0.2, 0.8], [0.6, -0.4]])
    for seed in range(20):
        torch.testing.assert_close(make("interpolated", two, seed), two.mean(0).expand(2, 2))
        assert ((make("interpolated", three, seed) - three).norm(dim=1) > 0.1).all()


def test_columns_too_fine_for_the_smaller_size_are_blurred_not_sampled():
    """Of nine columns, three: means of what they cover, where every third alone is black or white."""
    columns = torch.tensor([1.0, -1.0]).repeat(5)[:9].expand(1, 1, 9, 9)
    assert by_way_of(columns, 3)[..., 2:7].abs().max() < 0.35
