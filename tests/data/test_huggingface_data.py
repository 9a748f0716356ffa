"""The loader of real images: every kind of source, columns, shapes, broken images."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from PIL import Image

from modules.core.checks import DataError
from modules.data import HuggingFaceData, MemoryExamples
from tests.data.tables import (
    CLASSES,
    SHAPE,
    arrow,
    labelled,
    parquet,
    picture_folder,
    pixels,
    png,
    saved_with_splits,
)

pytestmark = pytest.mark.usefixtures("own_cache")


def check(data: HuggingFaceData, order=range(6), first: int = 0) -> None:
    """The set holds the six images with their classes, in memory and mapped alike."""
    expected = pixels(6, first)[list(order)].float() / 127.5 - 1
    for limit in (2**20, 0):
        data.in_memory_limit_bytes = limit
        examples = data.open()
        assert isinstance(examples, MemoryExamples) == (limit > 0)
        assert len(examples) == 6 and examples.class_names == data.class_names == CLASSES
        image, labels = examples.rows(torch.arange(6))
        assert torch.equal(image, expected)
        assert labels.tolist() == [[i % 3] for i in order]
        backwards = examples.rows(torch.tensor([5, 0, 5]))
        assert torch.equal(backwards[0], expected[[5, 0, 5]])
        assert torch.equal(backwards[1], labels[[5, 0, 5]])


def saved_alone() -> str:
    # saved with a reordering, which the reader must keep to
    labelled().select([5, 4, 3, 2, 1, 0]).select([5, 4, 3, 2, 1, 0]).save_to_disk("one")
    return "one"


def parquet_folder(train: str, test: str) -> str:
    parquet(labelled(), f"set/{train}")
    parquet(labelled(first=9), f"set/{test}")
    return "set"


def arrow_folder() -> str:
    arrow(labelled(), "set/train.arrow")
    arrow(labelled(first=9), "set/test.arrow")
    return "set"


@pytest.mark.parametrize(
    "make",
    [
        lambda: parquet(labelled(), "a set [of six].parquet"),
        lambda: arrow(labelled(), "six.arrow"),
        lambda: parquet_folder("train.parquet", "test.parquet"),
        lambda: parquet_folder(
            "plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"
        ),
        lambda: parquet_folder("train/0.parquet", "test/0.parquet"),
        arrow_folder,
        saved_with_splits,
        saved_alone,
    ],
    ids=["parquet", "arrow", "folder", "as on the Hub", "folders", "arrow folder", "saved splits", "saved"],
)
def test_every_kind_of_table(make):
    source = make()
    check(HuggingFaceData(source, SHAPE, num_classes=3))
    if source in ("set", "both"):
        check(HuggingFaceData(source, SHAPE, split="test", num_classes=3), first=9)


def test_image_folders():
    by_class = [0, 3, 1, 4, 2, 5]  # files are sorted by class
    check(HuggingFaceData(picture_folder("pets"), SHAPE, num_classes=3), by_class)
    picture_folder("split [1]/train")
    picture_folder("split [1]/test", first=9)
    check(HuggingFaceData("split [1]", SHAPE, num_classes=3), by_class)
    check(HuggingFaceData("split [1]", SHAPE, split="test", num_classes=3), by_class, first=9)


def test_several_files_make_one_split():
    parquet(labelled(3), "set/train-00000-of-00002.parquet")
    parquet(labelled(4), "set/train-00001-of-00002.parquet")
    assert len(HuggingFaceData("set", SHAPE).open()) == 7
    parquet(labelled(2), "loose/a.parquet")
    parquet(labelled(3), "loose/b.parquet")
    assert len(HuggingFaceData("loose", SHAPE).open()) == 5


def test_columns_without_types():
    """Plain bytes, and structs without the Image type, as other tools write them."""
    raw = [png(image) for image in pixels(6)]
    plain = Dataset.from_dict({"image": raw, "label": [0, 1, 2, 0, 1, 2]})
    structs = Dataset.from_dict(
        {"image": [{"bytes": b, "path": "x.png"} for b in raw], "label": [0, 1, 2] * 2}
    )
    for dataset in (plain, structs):
        dataset.save_to_disk("typeless")
        examples = HuggingFaceData("typeless", SHAPE, num_classes=3).open()
        assert torch.equal(examples.rows(torch.arange(6))[0], pixels(6).float() / 127.5 - 1)
        assert examples.class_names == ["0", "1", "2"]


def test_images_are_brought_to_the_shape():
    wide = Image.fromarray(np.full((8, 20, 3), (200, 100, 50), dtype=np.uint8))
    wide.save("wide.png")
    deep = Image.fromarray(np.full((8, 8), 51 * 257, dtype=np.uint16))
    deep.save("deep.png")
    rows = {"image": [Path(name).read_bytes() for name in ("wide.png", "deep.png")]}
    Dataset.from_dict(rows).save_to_disk("set")
    image, _ = HuggingFaceData("set", (1, 4, 6)).open().rows(torch.arange(2))
    assert image.shape == (2, 1, 4, 6)
    assert torch.allclose(image[0], torch.tensor(124 / 127.5 - 1))
    assert torch.allclose(image[1], torch.tensor(51 / 127.5 - 1))


def damaged() -> Dataset:
    """Image 2 is broken, image 4 has no bytes at all; the labels are the indices."""
    encoded = [png(image) for image in pixels(6)]
    encoded[2], encoded[4] = encoded[2][:60], b""
    rows = {
        "img": [{"bytes": b, "path": f"{i}.png"} for i, b in enumerate(encoded)],
        "label": list(range(6)),
    }
    return Dataset.from_dict(rows, features=Features({"img": datasets.Image(), "label": Value("int64")}))


@pytest.mark.parametrize("limit", [2**20, 0], ids=["memory", "mapped"])
def test_broken_images_are_named_or_skipped(limit, caplog):
    damaged().save_to_disk("set")

    def load(**options):
        data = HuggingFaceData("set", SHAPE, num_classes=6, in_memory_limit_bytes=limit, **options)
        examples = data.open()
        return examples, *examples.rows(torch.arange(len(examples)))

    with pytest.raises(DataError, match=r"image 2 \(2.png: .*\) cannot be decoded: .*max_bad_images"):
        load()
    with pytest.raises(DataError, match=r"more than 1 images cannot .*2 \(2.png: .*4 \(4.png: it is empty\)"):
        load(max_bad_images=1)
    with caplog.at_level(logging.WARNING):
        examples, image, labels = load(max_bad_images=2)
    # left out of memory; replaced by the next good one where the set stays mapped
    order = [0, 1, 3, 5] if limit else [0, 1, 3, 3, 5, 5]
    assert labels[:, 0].tolist() == order and len(examples) == len(order)
    assert torch.equal(image, pixels(6)[order].float() / 127.5 - 1)
    if limit:
        assert "left out 2 of 6 images: 2 (2.png: " in caplog.text and "4 (4.png: it is empty)" in caplog.text
    # asked for one by one, last first, and again: the same, whatever was met before
    again = [examples.rows(torch.tensor([i]))[1].item() for i in reversed(range(len(examples)))]
    assert again == order[::-1]


def test_a_set_of_broken_images_ends_in_an_error():
    Dataset.from_dict({"image": [b"no image"] * 3}).save_to_disk("set")
    for limit in (2**20, 0):
        data = HuggingFaceData("set", SHAPE, max_bad_images=3, in_memory_limit_bytes=limit)
        with pytest.raises(DataError, match="none of the 3 images can be decoded"):
            data.open().rows(torch.arange(2))
