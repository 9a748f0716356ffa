"""The drawn shapes: what the labels say is what the pixels show."""

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.data import Shapes

N = 4000


def drawn(shape=(3, 32, 32), n=N, omit=()):
    examples = Shapes(shape, num_classes=14, omit=omit).open()
    images, labels = examples.rows(torch.arange(n))
    return images, labels, examples.class_names


def ink(images):
    """Share of each pixel that isn't ground, (n, h, w): the strongest channel's way from -0.9."""
    return ((images.amax(1) + 0.9) / (images.amax((1, 2, 3)) + 0.9)[:, None, None]).clamp(0, 1)


def test_class_names():
    names = Shapes(num_classes=14).class_names
    assert names[0] == "shape=circle" and names[4] == "colour=red" and names[13] == "size=large"
    assert len(names) == 14 and Shapes().class_names == []


def test_labels_hold_one_value_of_each_attribute_evenly():
    _, labels, names = drawn()
    for column, name in enumerate(("shape", "colour", "place", "size")):
        ids = [i for i, class_name in enumerate(names) if class_name.startswith(f"{name}=")]
        shares = labels[:, column].bincount(minlength=14) / N
        assert shares[ids].sum() == 1
        assert (shares[ids] - 1 / len(ids)).abs().max() < 0.04


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 32, 32), (3, 24, 40)])
def test_place_size_and_colour_are_what_is_seen(shape):
    images, labels, names = drawn(shape)
    assert images.shape == (N, *shape) and images.abs().max() <= 1
    cover = ink(images)
    area = cover.sum((1, 2))
    down = (cover.sum(2) * torch.arange(shape[1])).sum(1) / area
    right = (cover.sum(1) * torch.arange(shape[2])).sum(1) / area
    quadrant = 2 * (down > (shape[1] - 1) / 2).int() + (right > (shape[2] - 1) / 2).int()
    quadrants = ["place=upper left", "place=upper right", "place=lower left", "place=lower right"]
    assert [quadrants[i] for i in quadrant] == [names[i] for i in labels[:, 2]]
    # the areas of small and large shapes don't meet, whatever the shape
    large = labels[:, 3] == names.index("size=large")
    assert area[~large].max() < 0.85 * area[large].min()
    # the brightest pixel shows the colour: yellow is red and green at once
    peak = images.flatten(2).gather(2, cover.flatten(1).argmax(1)[:, None, None].expand(N, 3, 1))[..., 0]
    bright = (peak > 0.5).tolist()
    meaning = {
        "colour=red": [True, False, False],
        "colour=green": [False, True, False],
        "colour=blue": [False, False, True],
        "colour=yellow": [True, True, False],
    }
    assert bright == [meaning[names[i]] for i in labels[:, 1]]


def test_each_shape_has_its_area_and_outline():
    images, labels, names = drawn((3, 64, 64), n=800)
    large = labels[:, 3] == names.index("size=large")
    cover = ink(images)
    radius = 0.25 * 64
    # areas in radius²: π, 1.76², 3√3·0.62² (of inradius 0.62), 2·2.1·0.72 - 0.72²;
    # and how wide the shape is near its top, in parts of its width in the middle
    for name, area, least, most in (
        ("circle", 3.1416, 0.3, 0.8),
        ("square", 3.0976, 0.95, 1.05),
        ("triangle", 1.9974, 0.0, 0.3),
        ("cross", 2.5056, 0.25, 0.45),
    ):
        mine = cover[large & (labels[:, 0] == names.index(f"shape={name}"))]
        assert (mine.sum((1, 2)) / radius**2 - area).abs().max() < 0.03 * area
        rows = mine.sum(2)
        first = (rows > 0.5).int().argmax(1)
        top, middle = (rows.gather(1, (first + k)[:, None])[:, 0] for k in (2, 18))
        assert least < (top / middle).mean() < most


def test_edges_are_antialiased_and_resolutions_agree():
    """Shrinking a fine picture by averaging gives the coarse picture, up to a small share of a pixel."""
    fine = ink(drawn((3, 128, 128), n=200)[0])
    coarse = ink(drawn((3, 32, 32), n=200)[0])
    averaged = torch.nn.functional.avg_pool2d(fine, 4)
    assert (averaged - coarse).abs().max() < 0.35  # at the corners of triangles
    assert (averaged - coarse).abs().mean() < 0.002
    assert (averaged - coarse.round()).abs().mean() > 0.01  # what hard edges would give


def test_omitted_combinations_never_appear():
    omit = (("circle", "red"), ("cross", "large", "upper left"))
    _, labels, names = drawn(omit=omit)
    shown = [{names[i].split("=")[1] for i in row} for row in labels.tolist()]
    assert not any(set(values) <= row for values in omit for row in shown)
    assert any({"circle", "blue"} <= row for row in shown) and any({"cross", "large"} <= row for row in shown)
    # of 128 combinations 8 circles and 4 crosses are left out; the others are even
    assert len(Shapes(omit=omit).combinations) == 128 - 8 - 4
    assert len({frozenset(row) for row in shown}) == 116


def test_an_image_depends_on_seed_and_index_alone():
    examples = Shapes().open()
    together = examples.rows(torch.arange(50))[0]
    order = torch.tensor([40, 7])
    assert torch.equal(examples.rows(order)[0], together[order])
    assert not torch.equal(Shapes(seed=1).open().rows(order)[0], together[order])
    assert examples.rows(order)[1].tolist() == [[-1] * 4] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (1, 16, 16)}, r"Shapes.shape must be \(3"),
        ({"shape": (3, 4, 16)}, "sides >= 8"),
        ({"num_classes": 4}, "Shapes.num_classes must be 14 or 0"),
        ({"omit": (("circle", "redd"),)}, "'redd' .* Did you mean 'red'"),
        ({"omit": ("circle",)}, "must hold combinations"),
        ({"omit": (("small",), ("large",))}, "leaves nothing"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ConfigurationError, match=words):
        Shapes(**options)
