"""What users hand in means what its numbers say: images in [-1, 1] or of 8 bits, pictures, whole labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from modules import runs
from modules.core.checks import ConfigurationError, DataError
from modules.data.base import MemoryExamples
from modules.data.digits import Digits
from modules.data.given import as_images, as_labels

SHAPE = (1, 2, 3)
BYTES = np.arange(0, 240, 20, dtype=np.uint8).reshape(2, 1, 2, 3)


def test_bytes_arrays_and_pictures_mean_the_same_images():
    expected = torch.from_numpy(BYTES).double() / 127.5 - 1
    pictures = [Image.fromarray(pixels[0]) for pixels in BYTES]
    for given in (BYTES, torch.from_numpy(BYTES), pictures, tuple(pictures), expected, expected.numpy()):
        torch.testing.assert_close(as_images(given, SHAPE).double(), expected, rtol=0, atol=1e-6)
    one = as_images(pictures[1].convert("RGB").resize((6, 4), Image.Resampling.NEAREST), SHAPE)
    assert one.shape == (1, *SHAPE)
    assert as_images(expected, SHAPE).dtype == torch.float64


def test_samples_may_pass_the_range_a_little_and_points_lie_anywhere():
    x = torch.full((2, *SHAPE), 1.4)
    assert torch.equal(as_images(x, SHAPE), x)
    assert float(as_images(torch.full((2, 2), 300.0), (2,)).max()) == 300


FAULTS = {
    "floats in 0..255": (
        torch.from_numpy(BYTES).float(),
        "must be in [-1, 1], got values in 0..220: of 0..255",
    ),
    "whole numbers": (torch.from_numpy(BYTES).long(), "floats in [-1, 1], or uint8 in 0..255, got int64"),
    "booleans": (torch.from_numpy(BYTES) > 100, "got bool"),
    "not a number": (torch.full((1, *SHAPE), torch.nan), "not finite"),
    "infinite": (torch.full((1, *SHAPE), torch.inf), "not finite"),
    "channels last": (np.moveaxis(BYTES, 1, 3), "must be (n, 1, 2, 3), the model's shape, got (2, 2, 3, 1)"),
    "one image alone": (BYTES[0], "got (1, 2, 3)"),
    "a single number": (torch.tensor(0.5), "got ()"),
    "a path": ("cat.png", "must be a tensor, an array or pictures, got 'cat.png'"),
    "lists": (BYTES.tolist(), "must be a tensor, an array or pictures"),
    "objects": (np.array([None], dtype=object), "images: can't convert"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_no_image_can_mean_is_refused(fault):
    given, expected = FAULTS[fault]
    with pytest.raises(ConfigurationError) as caught:
        as_images(given, SHAPE)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_bytes_are_no_points():
    with pytest.raises(ConfigurationError, match="got uint8"):
        as_images(np.zeros((3, 2), np.uint8), (2,))


@pytest.mark.parametrize("given", [[1, 2], np.array([1, 2]), torch.tensor([1, 2]).int(), range(1, 3)])
def test_whole_numbers_are_labels(given):
    assert torch.equal(as_labels(given), torch.tensor([1, 2]))
    assert as_labels(np.int64(3)).tolist() == 3


@pytest.mark.parametrize(
    "given", [1.9, 1.0, [0, 1.5], torch.tensor([1.0]), True, [True], "cat", ["cat"], None]
)
def test_nothing_else_is(given):
    with pytest.raises(ConfigurationError, match="whole numbers of classes, got"):
        as_labels(given)


def test_everywhere_on_a_run(tiny_run):
    """Bytes and pictures draw what floats draw; what has another meaning is refused everywhere."""
    run = runs.load(tiny_run)
    x = Digits().open().rows(torch.tensor([0, 1]))[0]
    whole = ((x + 1) * 127.5).round().to(torch.uint8)
    mask = np.arange(8) < 4
    filled = run.inpaint(x, mask, seed=1)
    assert torch.equal(run.inpaint(whole.numpy(), mask, seed=1), filled)
    pictures = [Image.fromarray(pixels[0].numpy()) for pixels in whole]
    assert torch.equal(run.inpaint(pictures, mask, seed=1), filled)
    way = run.interpolate((x[:1], x[1:]), 2)
    assert torch.equal(run.interpolate((pictures[0], whole[1:]), 2), way)
    large = whole.float()
    for call in (
        lambda: run.inpaint(large, mask),
        lambda: run.interpolate((large, large), 2),
        lambda: run.interpolate((x, large), 2),
        lambda: run.generate(1, label=1.9),
        lambda: run.generate(2, label=[0, 1.5]),
        lambda: run.inpaint(x, mask, label=0.5),
        lambda: run.with_conditions([1.9], [1.0]),
        lambda: run.generate(1, seed=1.5),
    ):
        with pytest.raises(ConfigurationError):
            call()


def test_examples_of_ones_own_are_looked_at():
    images = torch.zeros(3, *SHAPE)
    with pytest.raises(ConfigurationError, match="labels must be whole numbers"):
        MemoryExamples(images, torch.tensor([0.0, 1.0, 1.9]))
    with pytest.raises(DataError, match="3 images need as many labels, got 2"):
        MemoryExamples(images, torch.tensor([0, 1]))
