"""The order of training data: once an epoch, and the same however the work is divided."""

import itertools
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from modules.core.checks import ConfigurationError, DataError
from modules.data import MemoryExamples, TrainingStream
from modules.data.base import Examples


def numbered(n: int, attributes: int = 1) -> MemoryExamples:
    """n images 1x2x2 whose left half is their number, right half its negative."""
    number = torch.arange(n, dtype=torch.float32)[:, None, None, None]
    images = torch.cat([number, -number], -1).expand(n, 1, 2, 2)
    labels = torch.arange(n)[:, None] * attributes + torch.arange(attributes)
    return MemoryExamples(images, labels)


def test_an_epoch_shows_every_example_once():
    stream = TrainingStream(numbered(23), batch_size=5, seed=1)
    shown = torch.cat([stream.batch(step, range(5)).label for step in range(23)])  # 115 rows: 5 epochs
    epochs = shown.reshape(5, 23)
    assert torch.equal(epochs.sort(1).values, torch.arange(23).expand(5, 23))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 5
    other = TrainingStream(numbered(23), batch_size=5, seed=2)
    assert not torch.equal(other.batch(0, range(5)).label, shown[:5])


def test_batch_size_divides_one_and_the_same_sequence():
    small, large = (TrainingStream(numbered(40), size, seed=3) for size in (4, 8))
    first = torch.cat([small.batch(step, range(4)).label for step in range(20)])
    second = torch.cat([large.batch(step, range(8)).label for step in range(10)])
    assert torch.equal(first, second)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize(
    "parts",
    [[[range(12)]], [[range(6)], [range(6, 12)]], [[range(2), range(2, 6)], [range(6, 7), range(7, 12)]]],
)
def test_processes_micro_batches_and_workers_see_the_same_batches(parts, num_workers):
    whole = TrainingStream(numbered(30, 4), 12, seed=5, horizontal_flip=True)
    expected = [whole.batch(step, range(12)) for step in range(2, 9)]
    processes = []
    for row_ranges in parts:
        stream = TrainingStream(numbered(30, 4), 12, 5, horizontal_flip=True, num_workers=num_workers)
        batches = stream.iterate(2, row_ranges)
        processes.append(list(itertools.islice(batches, 7)))
        batches.close()
    for step, batch in enumerate(expected):
        pieces = [piece for process in processes for piece in process[step]]
        assert torch.equal(torch.cat([piece.image for piece in pieces]), batch.image)
        assert torch.equal(torch.cat([piece.label for piece in pieces]), batch.label)


def test_half_of_the_images_are_mirrored_each_time_anew():
    stream = TrainingStream(numbered(64), 64, seed=0, horizontal_flip=True)
    mirrored = torch.zeros(200, 64)
    for step in range(200):
        batch = stream.batch(step, range(64))
        assert torch.equal(batch.image[:, 0, :, 0].abs(), batch.label[:, None].float().expand(64, 2))
        assert torch.equal(batch.image[..., 0], -batch.image[..., 1])
        mirrored[step, batch.label] = (batch.image[:, 0, 0, 0] < 0).float()
    # example 0 is its own mirror image; 12,600 fair draws have a standard error of 0.0045
    assert abs(mirrored[:, 1:].mean() - 0.5) < 0.02
    assert (mirrored[:, 1:].mean(0) - 0.5).abs().max() < 0.18  # 5 standard errors of one example


def test_attributes_are_drawn_evenly():
    stream = TrainingStream(numbered(50, 4), 50, seed=0)
    labels = torch.cat([stream.batch(step, range(50)).label for step in range(200)])
    again = torch.cat([stream.batch(step, range(50)).label for step in range(200)])
    assert torch.equal(labels, again)
    assert torch.equal((labels // 4).bincount(), torch.full((50,), 200))  # the example is the row's own
    shares = (labels % 4).bincount() / 10_000
    assert (shares - 0.25).abs().max() < 0.02  # standard error 0.0043
    # independent of the flips, which come from the same noise source
    flipped = TrainingStream(numbered(50, 4), 50, seed=0, horizontal_flip=True)
    batches = [flipped.batch(step, range(50)) for step in range(200)]
    mirrored = torch.cat([batch.image[:, 0, 0, 0] for batch in batches]) < 0
    for attribute in range(4):
        assert abs(mirrored[labels % 4 == attribute].float().mean() - 0.49) < 0.05


def test_8_bit_images_span_the_range():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    image, label = MemoryExamples(images).rows(torch.tensor([2, 0, 1]))
    assert torch.allclose(image.flatten(), torch.tensor([1.0, -1.0, -0.6]))
    assert label.tolist() == [[-1]] * 3


def test_a_batch_larger_than_the_set_names_both_numbers():
    with pytest.raises(DataError, match=r"64 .* 50 "):
        TrainingStream(numbered(50), 64, seed=0)


def test_points_are_not_mirrored():
    with pytest.raises(ConfigurationError, match="horizontal_flip"):
        TrainingStream(MemoryExamples(torch.zeros(9, 2)), 4, seed=0, horizontal_flip=True)


class Broken(Examples):
    shape, class_names = (1,), []

    def __len__(self):
        return 10

    def rows(self, indices):
        raise DataError("image 7 is broken")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_errors_of_workers_reach_the_caller(num_workers):
    with pytest.raises(DataError, match="image 7"):
        next(TrainingStream(Broken(), 2, 0, num_workers=num_workers).iterate(0, [range(2)]))


def test_a_closed_iterator_leaves_no_thread():
    batches = TrainingStream(numbered(30), 4, 0, num_workers=3).iterate(0, [range(4)])
    next(batches)
    assert any(thread.name.startswith("data") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("data") for thread in threading.enumerate())


def test_an_iterator_left_open_does_not_disturb_the_exit():
    program = (
        "from modules.data import Checkerboard, TrainingStream\n"
        "batches = TrainingStream(Checkerboard().open(), 500, 0, num_workers=3).iterate(0, [range(500)])\n"
        "next(batches)\n"
        "raise SystemExit(3)\n"
    )
    folder = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
