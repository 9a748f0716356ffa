"""A set's other parts, by name."""

from __future__ import annotations

import pytest
import torch

from modules.core.checks import ConfigurationError, DataError
from modules.data.base import Data, MemoryExamples
from modules.data.digits import Digits
from modules.data.hub import HuggingFaceData
from modules.data.points import Checkerboard
from modules.data.shapes import Shapes


class Whole(Data):
    """A set without parts."""

    def open(self) -> MemoryExamples:
        return MemoryExamples(torch.zeros(2, *self.shape))


def test_the_digits_test_set_is_what_was_held_out():
    data = Digits(10, omit=(3,))
    test = data.with_split("test")
    assert test.part == "held_out" and test.omit == (3,) and test.num_classes == 10
    assert len(test.open()) + len(data.with_split("train").open()) == len(data.with_split("all").open())
    with pytest.raises(ConfigurationError, match="--split must be one of 'train', 'test', 'all', got 'held'"):
        data.with_split("held")


@pytest.mark.parametrize("data", [Checkerboard(seed=5), Shapes(seed=5)], ids=["points", "shapes"])
def test_sets_made_by_code_have_others_of_the_same_law(data):
    rows = torch.arange(20)
    train, test = (data.with_split(name).open().rows(rows)[0] for name in ("train", "test"))
    assert torch.equal(train, data.open().rows(rows)[0]) and not torch.equal(train, test)
    assert test.shape == train.shape and data.seed == 5
    with pytest.raises(ConfigurationError, match="--split"):
        data.with_split("valid")


def test_a_source_is_asked_for_its_split_when_it_is_opened(tmp_path):
    (tmp_path / "train").mkdir()
    data = HuggingFaceData(str(tmp_path), (1, 8, 8))
    assert (data.with_split("test").split, data.split) == ("test", "train")
    with pytest.raises(DataError):
        data.with_split("test").open()


def test_a_set_without_parts_says_so():
    with pytest.raises(ConfigurationError, match="Whole has no splits: leave --split out"):
        Whole((2,)).with_split("test")
