"""A torch Dataset's items as examples: pictures, 8 bits, float numbers, points, with labels or without."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from modules.core.checks import ConfigurationError, DataError
from modules.data.torch_data import TorchData

torch.set_num_threads(1)


class Items(Dataset):
    def __init__(self, *items: object) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        return self.items[index]


BYTES = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
WANTED = torch.from_numpy(BYTES).permute(2, 0, 1) / 127.5 - 1


@pytest.mark.parametrize(
    ("item", "value_range"),
    [
        (Image.fromarray(BYTES), None),
        (torch.from_numpy(BYTES).permute(2, 0, 1), None),
        (BYTES.transpose(2, 0, 1), None),
        (torch.from_numpy(BYTES).permute(2, 0, 1) / 255, (0, 1)),  # ToTensor's
        (WANTED.double(), (-1, 1)),
    ],
    ids=["a picture", "8 bits", "an array", "0..1", "-1..1"],
)
def test_an_image_is_the_same_however_it_comes(item: object, value_range) -> None:
    examples = TorchData(Items((item, 1), (item, 0)), (3, 2, 2), 2, value_range).open()
    image, label = examples.rows(torch.tensor([0, 1, 0]))
    assert image.dtype == torch.float32 and label.tolist() == [[1], [0], [1]]
    torch.testing.assert_close(image, WANTED.float().expand(3, -1, -1, -1), rtol=0, atol=1e-6)
    assert examples.grey_values == (256 if value_range is None else None)
    plain = TorchData(Items(item), (3, 2, 2), 0, value_range).open()
    assert plain.rows(torch.tensor([0]))[1].tolist() == [[-1]] and plain.class_names == []


def test_points_and_attributes() -> None:
    examples = TorchData(Items((torch.tensor([0.5, 3.0]), (0, 2))), (2,), 3, class_names="abc").open()
    x, label = examples.rows(torch.tensor([0]))
    assert (
        x.tolist() == [[0.5, 3.0]] and label.tolist() == [[0, 2]] and examples.class_names == ["a", "b", "c"]
    )


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TorchData([WANTED], (3, 2, 2)), "TorchData.dataset must be Dataset"),
        (lambda: TorchData(Endless(), (3, 2, 2)), "must have len() and [i], and Endless has not"),
        (lambda: TorchData(Items(), (3, 2, 2), value_range=(1, 0)), "value_range's high must be above 1"),
        (lambda: TorchData(Items(), (3, 2, 2), 2, class_names=["a"]), "class_names must be 2 names"),
        (lambda: _first(Items(WANTED), 0), "item 0 of Items holds float numbers: set TorchData.value_range"),
        (lambda: _first(Items(WANTED[:1]), 0), "item 0 of Items is (1, 2, 2), not a picture or numbers"),
        (lambda: _first(Items({"image": 1}), 0), "item 0 of Items is {'image': 1}, not a picture"),
        (lambda: _first(Items(Image.fromarray(BYTES)), 2), "item 0 of Items has no label: set num_classes"),
    ],
)
def test_what_cannot_be_used_is_named(make, words: str) -> None:
    with pytest.raises((ConfigurationError, DataError)) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def _first(dataset: Dataset, num_classes: int) -> object:
    return TorchData(dataset, (3, 2, 2), num_classes).open().rows(torch.tensor([0]))
