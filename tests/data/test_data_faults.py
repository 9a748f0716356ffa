"""`Data.faults` of sets that aren't files: sound ones have none, and each unusable example is a line."""

from __future__ import annotations

import torch

from modules.core.checks import DataError
from modules.data import Checkerboard, Data, Digits, Examples, MemoryExamples


class _Memory(Data):
    """Given images and labels, as a user's own set may be."""

    def __init__(self, images, labels, num_classes):
        super().__init__(tuple(images.shape[1:]), num_classes)
        self.images, self.labels = images, labels

    def open(self) -> Examples:
        return MemoryExamples(self.images, self.labels)


class _Torn(_Memory):
    """Raises at examples 3 and 700."""

    def open(self) -> Examples:
        return _TornExamples(self.images, self.labels)


class _TornExamples(MemoryExamples):
    def rows(self, indices):
        for index in indices.tolist():
            if index in (3, 700):
                raise DataError(f"example {index} is torn")
        return super().rows(indices)


def test_sound_sets_have_no_faults():
    assert list(Digits(10).faults()) == []
    assert list(Digits().faults()) == []
    assert list(Checkerboard(num_classes=8, length=1000).faults()) == []


def test_values_and_labels_out_of_range_are_listed():
    images = torch.zeros(600, 2)
    images[5, 1], images[599, 0] = torch.nan, -torch.inf
    labels = torch.arange(600) % 3
    labels[7], labels[300], labels[301] = 3, -2, -1
    assert list(_Memory(images, labels, 3).faults()) == [
        "_Memory: example 5 has values that are not finite",
        "_Memory: the label of example 7 is [3], not in 0..2 (-1 = none)",
        "_Memory: the label of example 300 is [-2], not in 0..2 (-1 = none)",
        "_Memory: example 599 has values that are not finite",
    ]


def test_images_beyond_the_range_are_listed():
    """Float images in 0..255, as a user's own set may hold them: each is a fault, and uint8 is none."""
    images = torch.full((3, 1, 2, 2), 0.5)
    images[1] = torch.tensor([[0.0, 255.0], [3.0, 4.0]])
    images[2, 0, 0, 0] = torch.inf
    assert list(_Memory(images, None, 0).faults()) == [
        "_Memory: example 2 has values that are not finite",
        "_Memory: example 1 has values from 0 to 255, not in [-1, 1]",
    ]
    assert list(_Memory(images.nan_to_num(posinf=9).to(torch.uint8), None, 0).faults()) == []


def test_an_example_that_cannot_be_read_hides_no_other():
    images = torch.zeros(1000, 2)
    images[4, 0] = torch.nan
    lines = list(_Torn(images, None, 0).faults())
    assert lines == [
        "example 3 is torn",
        "_Torn: example 4 has values that are not finite",
        "example 700 is torn",
    ]
