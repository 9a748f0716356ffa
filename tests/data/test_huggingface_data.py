"""The loader of real images: every kind of source, labels, and each fault in one line."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image

from modules.core.checks import ConfigurationError, DataError
from modules.data import HuggingFaceData, MemoryExamples
from modules.data.sources import _hub_faults, open_source, parquet_files

SHAPE = (3, 4, 4)
CLASSES = ["cat", "dog", "owl"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Converted files go below the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)


def pixels(n: int, first: int = 0) -> torch.Tensor:
    """n images of SHAPE, all different."""
    return (torch.arange(n * 48).reshape(n, 4, 4, 3) * 5 + first).to(torch.uint8).permute(0, 3, 1, 2)


def png(image: torch.Tensor) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def table(n: int = 6, first: int = 0, **columns) -> Dataset:
    """Images, and columns given as (values, feature)."""
    rows = {"img": [{"bytes": png(image), "path": None} for image in pixels(n, first)]}
    features = {"img": datasets.Image()}
    for name, (values, feature) in columns.items():
        rows[name], features[name] = values, feature
    return Dataset.from_dict(rows, features=Features(features))


def labelled(n: int = 6, first: int = 0) -> Dataset:
    return table(n, first, label=([i % 3 for i in range(n)], ClassLabel(names=CLASSES)))


def parquet(dataset: Dataset, name: str = "train.parquet") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(name)
    return name


def arrow(dataset: Dataset, name: str) -> str:
    dataset.save_to_disk("saved")
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    next(Path("saved").glob("*.arrow")).rename(name)
    return name


def picture_folder(folder: str, first: int = 0) -> str:
    for i, image in enumerate(pixels(6, first)):
        file = Path(folder) / CLASSES[i % 3] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    return folder


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


def saved_with_splits() -> str:
    DatasetDict({"train": labelled(), "test": labelled(first=9)}).save_to_disk("both")
    return "both"


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


@pytest.mark.parametrize(
    ("values", "feature", "ids", "names"),
    [
        ([2, 0, 1, 1], ClassLabel(names=CLASSES), [2, 0, 1, 1], CLASSES),
        ([2, 0, 1, 1], Value("int32"), [2, 0, 1, 1], ["0", "1", "2"]),
        (["owl", "cat", "cat", "dog"], Value("string"), [2, 0, 0, 1], CLASSES),
        ([True, False, False, True], Value("bool"), [1, 0, 0, 1], ["no", "yes"]),
    ],
    ids=["ClassLabel", "integers", "strings", "booleans"],
)
def test_kinds_of_labels(values, feature, ids, names):
    source = parquet(table(4, kind=(values, feature)))
    data = HuggingFaceData(source, SHAPE, label_column="kind", num_classes=len(names))
    examples = data.open()
    assert examples.rows(torch.arange(4))[1][:, 0].tolist() == ids
    assert examples.class_names == data.class_names == names
    unlabelled = HuggingFaceData(source, SHAPE).open()
    assert unlabelled.rows(torch.arange(4))[1].tolist() == [[-1]] * 4 and unlabelled.class_names == []


def test_attributes_become_classes():
    dataset = table(
        4,
        Smiling=([True, False, False, True], Value("bool")),
        Hats=([-1, 1, -1, -1], Value("int8")),
        Hair=(["grey", "black", "red", "grey"], Value("string")),
        Pet=([2, 0, 0, 1], ClassLabel(names=CLASSES)),
    )
    columns = ["Smiling", "Hats", "Hair", "Pet"]
    data = HuggingFaceData(parquet(dataset), SHAPE, attribute_columns=columns, num_classes=10)
    examples = data.open()
    assert examples.class_names == [
        *["Smiling=no", "Smiling=yes", "Hats=-1", "Hats=1", "Hair=black", "Hair=grey", "Hair=red"],
        *["Pet=cat", "Pet=dog", "Pet=owl"],
    ]
    expected = [[1, 2, 5, 9], [0, 3, 4, 7], [0, 2, 6, 7], [1, 2, 5, 8]]
    assert examples.rows(torch.arange(4))[1].tolist() == expected


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


def test_the_hub_out_of_reach_tells_the_command(tmp_path):
    """And importing the package reads no library that takes seconds."""
    program = (
        "import sys, modules.data\n"
        "assert not {'datasets', 'PIL', 'pyarrow'} & set(sys.modules)\n"
        "modules.data.HuggingFaceData('nobody/nothing', (3, 8, 8)).open()\n"
    )
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("modules.core.checks.DataError: the Hub is out of reach")
    assert "hf download --repo-type dataset nobody/nothing --local-dir DIR" in last


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


def test_what_goes_wrong_at_the_hub_is_one_line(monkeypatch):
    """Out of reach, missing, and anything else; offline with the command that fetches."""
    from datasets.exceptions import DatasetNotFoundError

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    fetch = "hf download --repo-type dataset me/pets --local-dir DIR"
    for error, words in (
        (ConnectionError("no route"), ["the Hub is out of reach", "'me/pets' is not cached", fetch]),
        (TimeoutError(), ["the Hub is out of reach", fetch]),
        (DatasetNotFoundError("gone\nmore"), ["'me/pets' is neither a path here nor", "read: gone"]),
        (OSError("no space\nleft"), ["'me/pets' of the Hub cannot be opened: no space"]),
        (KeyError(), ["of the Hub cannot be opened: KeyError"]),
    ):
        with pytest.raises(DataError) as caught, _hub_faults("me/pets"):
            raise error
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert "\n" not in str(caught.value) and caught.value.__cause__ is error
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    words = r"cannot be opened offline \(no cache\): with a network run `hf download"
    with pytest.raises(DataError, match=words), _hub_faults("me/pets"):
        raise ValueError("other") from ValueError("no cache")
    with _hub_faults("me/pets"):
        pass


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
