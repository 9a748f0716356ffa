"""Each fault of a source of real images in one line, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Value

from modules.core.checks import ConfigurationError, DataError
from modules.data import HuggingFaceData
from modules.data.sources import open_source, parquet_files
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
    table,
)

pytestmark = pytest.mark.usefixtures("own_cache")


def two_images() -> Dataset:
    return table(2, second=([{"bytes": b"", "path": None}] * 2, datasets.Image()))


FAULTS = {
    "missing file": (
        lambda: parquet(labelled(), "pets.parquet"),
        {"source": "pest.parquet"},
        "'pets.parquet'",
    ),
    "missing folder": (lambda: picture_folder("shared/pets"), {"source": "shared/pest/all"}, "mean 'pets'"),
    "empty folder": (lambda: Path("empty").mkdir() or "empty", {}, "empty holds no pictures"),
    "broken parquet": (
        lambda: Path("a.parquet").write_bytes(b"x" * 99) and "a.parquet",
        {},
        "a.parquet cannot be",
    ),
    "truncated arrow": (
        lambda: os.truncate(arrow(labelled(), "a.arrow"), 900) or "a.arrow",
        {},
        "a.arrow cannot be read as arrow",
    ),
    "other file": (lambda: Path("a.zip").write_bytes(b"x") and "a.zip", {}, "neither .parquet nor .arrow"),
    "split": (
        lambda: parquet(labelled(), "set/train.parquet") and "set",
        {"split": "tran"},
        "only train.*mean 'train'",
    ),
    "split of a file": (lambda: parquet(labelled()), {"split": "test"}, "no split 'test', only train"),
    "split of saved": (saved_with_splits, {"split": "val"}, "no split 'val', only train, test"),
    "split of pictures": (lambda: picture_folder("pets"), {"split": "test"}, "no split 'test', only train"),
    "two sets": (
        lambda: (
            parquet(labelled(), "set/a/train.parquet")
            and parquet(labelled(), "set/b/train.parquet")
            and "set"
        ),
        {},
        "several sets with a split 'train': give one of set/a, set/b",
    ),
    "image column": (lambda: parquet(labelled()), {"image_column": "imgs"}, "no column 'imgs'.*mean 'img'"),
    "no image": (lambda: parquet(Dataset.from_dict({"a": [1]})), {}, "no column of images among a"),
    "two images": (lambda: parquet(two_images()), {}, r"several columns of images \(img, second\)"),
    "numbers as images": (
        lambda: parquet(Dataset.from_dict({"image": [1, 2]})),
        {},
        "holds int, not encoded images",
    ),
    "empty": (lambda: parquet(labelled().select([])), {}, "is empty"),
    "label column": (
        lambda: parquet(labelled()),
        {"label_column": "lable", "num_classes": 3},
        "mean 'label'",
    ),
    "no label": (lambda: parquet(table()), {"num_classes": 3}, "no column of labels among img"),
    "two labels": (
        lambda: parquet(
            table(2, fine=([0, 1], ClassLabel(names=CLASSES)), coarse=([0, 0], ClassLabel(names=["a"])))
        ),
        {"num_classes": 3},
        "several columns of labels.*fine, coarse",
    ),
    "class count": (lambda: parquet(labelled()), {"num_classes": 10}, "has 3 classes, but num_classes is 10"),
    "label missing": (
        lambda: parquet(table(3, label=([0, None, 1], Value("int64")))),
        {"num_classes": 2},
        r"label at index 1 \(column 'label'\) is missing",
    ),
    "label none": (
        lambda: parquet(table(3, label=([0, 1, -1], ClassLabel(names=CLASSES)))),
        {"num_classes": 3},
        r"label -1 at index 2 .* not in 0..2",
    ),
    "label a measure": (
        lambda: parquet(table(2, label=([0.5, 1.5], Value("float32")))),
        {"num_classes": 2},
        "column 'label' holds float",
    ),
    "attribute column": (
        lambda: parquet(table(2, Smiling=([True, False], Value("bool")))),
        {"attribute_columns": ("smiling",), "num_classes": 2},
        "no column 'smiling'.*mean 'Smiling'",
    ),
    "attribute missing": (
        lambda: parquet(table(2, Smiling=([True, None], Value("bool")))),
        {"attribute_columns": ("Smiling",), "num_classes": 2},
        "index 1 .column 'Smiling'. is missing",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_one_line(name):
    make, options, words = FAULTS[name]
    source = make()
    with pytest.raises(DataError, match=words) as caught:
        HuggingFaceData(**{"source": source, "shape": SHAPE, **options}).open()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (2,)}, "HuggingFaceData.shape must be"),
        ({"shape": (2, 8, 8)}, "HuggingFaceData.shape must be"),
        ({"num_classes": -1}, "HuggingFaceData.num_classes"),
        ({"max_bad_images": -1}, "HuggingFaceData.max_bad_images must be at least 0"),
        ({"attribute_columns": "Smiling"}, "HuggingFaceData.attribute_columns must be"),
        ({"label_column": "a", "attribute_columns": ("b",)}, "both label_column and attribute_columns"),
        ({"source": 3}, "HuggingFaceData.source must be str"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ConfigurationError, match=words):
        HuggingFaceData(**{"source": "x", "shape": SHAPE, **options})


def test_a_saved_set_that_is_broken_or_has_other_splits_is_one_line():
    labelled().save_to_disk("saved")
    assert open_source("saved", "train").table.num_rows == 6
    with pytest.raises(DataError, match="test") as caught:
        open_source("saved", "test")
    assert "\n" not in str(caught.value) and "train" in str(caught.value)
    DatasetDict(train=labelled(), other=labelled(4)).save_to_disk("both")
    opened = open_source("both", "other")
    assert opened.table.num_rows == 4 and opened.folder == Path("both/other")
    with pytest.raises(DataError, match="other"):
        open_source("both", "validation")
    Path("saved/state.json").write_text("{")
    with pytest.raises(DataError, match="saved cannot be read by load_from_disk: ") as caught:
        open_source("saved", "train")
    assert "\n" not in str(caught.value)


def test_a_path_that_is_missing_tells_the_nearest():
    """Also a builder's name, by which `datasets` would read all of the working folder."""
    parquet(labelled(), "pets/train.parquet")
    for source, hint in (
        ("pats/train.parquet", "Did you mean 'pets'?"),
        ("pets/trian.parquet", "Did you mean 'train.parquet'?"),
        ("pets/train.parquet/deep/file.parquet", ""),
        ("parquet", ""),
        ("imagefolder", ""),
        ("./nowhere", ""),
    ):
        for read in (open_source, parquet_files):
            with pytest.raises(DataError) as caught:
                read(source, "train")
            assert str(caught.value).startswith(f"there is no file or folder {source}."), str(caught.value)
            assert str(caught.value).endswith(hint) and "\n" not in str(caught.value)


def test_parquet_files_of_a_file_and_of_a_folder_and_of_nothing_else():
    parquet(labelled(), "pets/train-0.parquet")
    parquet(labelled(), "pets/test-0.parquet")
    files, left_out = parquet_files("pets/train-0.parquet", "train")
    assert files == ["pets/train-0.parquet"] and not left_out
    files, left_out = parquet_files("pets", "test")
    assert files == ["pets/test-0.parquet"] and len(left_out) <= 1
    Path("pictures").mkdir()
    Path("pictures/a.png").write_bytes(png(pixels(1)[0]))
    for source in ("pictures", "pictures/a.png"):
        with pytest.raises(DataError, match=f"^{source} is not of parquet files, of which alone a part"):
            parquet_files(source, "train")
