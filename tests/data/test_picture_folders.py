"""Every picture of a folder is in the set, or named with the reason why it isn't."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from modules.core.checks import DataError
from modules.data import HuggingFaceData
from modules.data.picture_folders import pictures_below

SHAPE = (1, 1, 1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def encoded(grey: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("L", (1, 1), grey).save(file, kind)
    return file.getvalue()


def put(path: Path, grey: int = 0, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(grey, kind))
    return path


def opened(folder: Path, split: str = "train", num_classes: int = 0):
    return HuggingFaceData(str(folder), SHAPE, split, num_classes=num_classes).open()


def greys(examples) -> list[int]:
    images, _ = examples.rows(torch.arange(len(examples)))
    return [round((value + 1) * 127.5) for value in images.flatten().tolist()]


def labels(examples) -> list[int]:
    return examples.rows(torch.arange(len(examples)))[1][:, 0].tolist()


def test_words_in_names_are_no_splits(tmp_path):
    for grey, name in enumerate(["cat.png", "dog.png", "car.png", "steam train.png", "test-1.png"]):
        put(tmp_path / "pets" / name, grey)
    examples = opened(tmp_path / "pets")
    assert sorted(greys(examples)) == [0, 1, 2, 3, 4] and not examples.left_out


def test_splits_lie_directly_below_the_source(tmp_path):
    for grey, name in enumerate(["train/cat/a", "train/test/b", "test/cat/c", "test/train/d", "more/e", "f"]):
        put(tmp_path / f"{name}.png", grey)
    train, test = (opened(tmp_path, split, num_classes=2) for split in ("train", "test"))
    assert (greys(train), train.class_names) == ([0, 1], ["cat", "test"])
    assert (greys(test), test.class_names) == ([2, 3], ["cat", "train"])
    beside = "beside the splits test, train"
    assert train.left_out == test.left_out == [f"f.png ({beside})", f"more/e.png ({beside})"]
    with pytest.raises(DataError, match=r"no split 'val', only test, train"):
        opened(tmp_path, "val")
    put(tmp_path / "one" / "test" / "g.png", 6)  # given itself, it is what is asked for by default too
    assert [greys(opened(tmp_path / "one" / "test", split)) for split in ("test", "train")] == [[6], [6]]


def test_links_are_followed_but_not_in_circles(tmp_path):
    put(tmp_path / "elsewhere" / "cats" / "1.png", 7)
    put(tmp_path / "pets" / "dog" / "2.png", 9)
    (tmp_path / "pets" / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    (tmp_path / "pets" / "dog" / "up").symlink_to(tmp_path / "pets")
    (tmp_path / "pets" / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    examples = opened(tmp_path / "pets", num_classes=2)
    assert (greys(examples), labels(examples), examples.class_names) == ([7, 9], [0, 1], ["cat", "dog"])
    assert examples.left_out == [
        "dog/gone.png (a link to nothing)",
        "dog/up (a link to a folder that it lies in)",
    ]


def test_every_format_is_found_with_and_without_its_ending(tmp_path):
    names = {"PNG": "png", "JPEG": "jfif", "WEBP": "webp", "GIF": "gif", "BMP": "BMP", "TIFF": "tif"}
    names |= {"PPM": "pgm", "JPEG2000": "jp2", "TGA": "tga", "AVIF": "avif"}
    Image.init()
    names = {kind: ending for kind, ending in names.items() if kind in Image.SAVE}
    for kind, ending in names.items():
        put(tmp_path / "set" / f"a.{ending}", kind=kind)
        if kind != "TGA":  # whose bytes don't say what they are
            put(tmp_path / "set" / f"no ending {kind}", kind=kind)
    assert len(opened(tmp_path / "set")) == 2 * len(names) - 1


def test_what_is_no_picture_is_named(tmp_path):
    put(tmp_path / "cat.png")
    put(tmp_path / ".kept" / "secret.png")
    (tmp_path / "._cat.png").write_bytes(b"\0\5\26\7notes of another system")
    for name in ("notes.txt", "drawing.svg", "README.md", "Thumbs.db", ".DS_Store"):
        (tmp_path / name).write_text("words")
    expected = [
        ".kept/secret.png (hidden: a name in its path begins with a dot)",
        "drawing.svg (no picture in a format that is read)",
        "notes.txt (no picture in a format that is read)",
    ]
    examples = opened(tmp_path)
    assert len(examples) == 1 and examples.left_out == expected
    faults = list(HuggingFaceData(str(tmp_path), SHAPE).faults())
    assert faults == [f"{tmp_path} (train): {line} is left out" for line in expected]


def test_classes_are_folders_by_number_and_by_path(tmp_path):
    for n in range(12):
        put(tmp_path / "numbers" / str(n) / "x.png", n)
    examples = opened(tmp_path / "numbers", num_classes=12)
    assert examples.class_names == [str(n) for n in range(12)] and labels(examples) == greys(examples)
    for grey, name in enumerate(["all/cat/day", "all/cat/night", "all/dog/day"]):
        put(tmp_path / "deep" / name / "x.png", grey)
    assert opened(tmp_path / "deep", num_classes=3).class_names == ["cat/day", "cat/night", "dog/day"]
    put(tmp_path / "one" / "cat" / "x.png")
    assert opened(tmp_path / "one", num_classes=1).class_names == ["cat"]


def test_a_picture_in_no_class_folder_is_named(tmp_path):
    put(tmp_path / "cat" / "1.png")
    put(tmp_path / "loose.png")
    assert len(opened(tmp_path)) == 2
    with pytest.raises(DataError, match=r"label at index 1 \(.*/loose.png\) .*is missing"):
        opened(tmp_path, num_classes=1)


def test_all_pictures_below_a_folder_in_the_order_of_numbers(tmp_path):
    """What `--images FOLDER` takes: names of splits and lists say nothing there."""
    for name in ("train/10.png", "train/9.png", "a.png", ".hidden.png"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("words")
    found, left_out = pictures_below(tmp_path)
    assert found == [tmp_path / name for name in ("a.png", "train/9.png", "train/10.png")]
    assert [str(left.path) for left in left_out] == [".hidden.png", "notes.txt"]


def csv(rows: list[dict]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata(tmp_path, kind):
    for grey, name in enumerate(["10.png", "2.png", "in/0003", "unlisted.png"]):
        put(tmp_path / name, grey)
    rows = [{"file_name": name, "label": label} for name, label in
            [("in/0003", "owl"), ("2.png", "NA"), ("10.png", "cat"), ("gone.png", "cat")]]  # fmt: skip
    if kind == "csv":
        (tmp_path / "metadata.csv").write_text(csv(rows))
    elif kind == "jsonl":
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    examples = opened(tmp_path, num_classes=3)
    assert examples.class_names == ["NA", "cat", "owl"]
    assert (greys(examples), labels(examples)) == ([0, 1, 2], [1, 0, 2])
    assert examples.left_out == [
        f"unlisted.png (not listed by metadata.{kind})",
        f"gone.png (listed by metadata.{kind}, but not there)",
    ]


def test_metadata_of_each_split_and_of_all(tmp_path):
    for split, grey in (("train", 1), ("test", 2)):
        put(tmp_path / "own" / split / "x.png", grey)
        (tmp_path / "own" / split / "metadata.csv").write_text(f"file_name,label\nx.png,{grey % 2}\n")
        put(tmp_path / "all" / split / "x.png", grey)
    rows = [{"file_name": f"{split}/x.png", "label": label} for split, label in (("train", 1), ("test", 0))]
    (tmp_path / "all" / "metadata.csv").write_text(csv(rows))
    for place in ("own", "all"):
        for split, grey in (("train", 1), ("test", 2)):
            assert greys(opened(tmp_path / place, split)) == [grey]
            assert list(HuggingFaceData(str(tmp_path / place), SHAPE, split).faults()) == []


METADATA_FAULTS = {
    "twice": ("file_name,label\na.png,1\n./a.png,0\n", "lists ./a.png twice"),
    "no name": ("name,label\na.png,1\n", "has no column file_name, only name, label"),
    "empty name": ("file_name,label\n,1\n", "row 0 names no file"),
    "own image": ("file_name,image\na.png,1\n", "has a column 'image'"),
    "broken": ("file_name,label\na.png\n", "cannot be read: CSV parse error"),
}


@pytest.mark.parametrize("name", METADATA_FAULTS)
def test_faults_of_metadata_are_one_line(tmp_path, name):
    text, words = METADATA_FAULTS[name]
    put(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_shard_and_unused_files_of_a_table_are_named(tmp_path):
    rows = {"image": [encoded(1)], "label": [0]}
    (tmp_path / "set").mkdir()
    for name in (
        "train-00000-of-00003.parquet",
        "train-00002-of-00003.PARQUET",
        "test.parquet",
        "old.parquet",
    ):
        pa.parquet.write_table(pa.table(rows), tmp_path / "set" / name)
    put(tmp_path / "set" / "cat.png")
    (tmp_path / "set" / "README.md").write_text("words")
    examples = opened(tmp_path / "set")
    assert len(examples) == 2 and examples.left_out == [
        "cat.png (no table of the set)",
        "old.parquet (its name tells no split, as others' do)",
        "train-00001-of-00003.parquet (missing: its name is one of the numbered parts of the set)",
    ]
    assert len(list(HuggingFaceData(str(tmp_path / "set"), SHAPE).faults())) == 3


def test_paths_in_a_table_start_from_the_table(tmp_path, monkeypatch):
    put(tmp_path / "set" / "pictures" / "a.png", 5)
    put(tmp_path / "pictures" / "a.png", 6)  # what the working folder would give
    monkeypatch.chdir(tmp_path)
    held = {"bytes": encoded(8), "path": "held.png"}
    image = [
        {"bytes": None, "path": "pictures/a.png"},
        held,
        {"bytes": None, "path": str(tmp_path / "pictures/a.png")},
    ]
    pa.parquet.write_table(pa.table({"image": image}), tmp_path / "set" / "train.parquet")
    assert greys(opened(tmp_path / "set")) == greys(opened(Path("set/train.parquet"))) == [5, 8, 6]
    pa.parquet.write_table(pa.table({"image": ["pictures/a.png"]}), tmp_path / "set" / "train.parquet")
    assert greys(opened(tmp_path / "set")) == [5]
    datasets.Dataset.from_dict({"image": image}).save_to_disk(str(tmp_path / "set" / "saved"))
    put(tmp_path / "set" / "saved" / "pictures" / "a.png", 4)
    assert greys(opened(tmp_path / "set" / "saved")) == [4, 8, 6]


WORDS = [
    "cat",
    "train",
    "steam train",
    "test-2",
    "dev_1",
    "10",
    "9",
    "Ünï cödé",
    "a[1]*",
    "val",
    "x.y",
    "%20",
]


def test_all_pictures_of_random_trees_are_counted(tmp_path):
    """Wherever pictures lie and whatever they are called: in the set, or left out by name; never neither."""
    rng = random.Random(0)
    for number in range(60):
        folder = tmp_path / f"tree {number}"
        with_splits, with_metadata = rng.random() < 0.4, rng.random() < 0.3
        splits = ["train", "test"] if with_splits else [""]
        held: dict[str, set[str]] = {split: set() for split in splits}
        left: dict[str, set[str]] = {split: set() for split in splits}
        for split in splits:
            listed = []
            for index in range(rng.randint(1, 8)):
                # a first folder called like a split would be one
                first = [f"class {rng.choice(WORDS)}"] * (rng.random() < 0.7)
                parts = [split, *first, *(rng.choice(WORDS) for _ in range(rng.randint(0, 2) * bool(first)))]
                name = (
                    f"{rng.choice(WORDS)} {index}{rng.choice(['.png', '.PNG', '', '.jpg', '.data', '.avif'])}"
                )
                where = rng.choice(["plain", "plain", "plain", "link", "linked folder", "hidden", "text"])
                path = Path(*parts, "." * (where == "hidden") + name)
                file = folder / path
                if where == "text":
                    path = path.with_suffix(".txt")
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_text("words")
                elif where == "link":
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.symlink_to(put(tmp_path / "aside" / f"{number} {split} {index}"))
                elif where == "linked folder":
                    put(tmp_path / "aside" / f"{number} {split} {index} folder" / name)
                    path = Path(*parts, f"way {index}", name)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).parent.symlink_to(tmp_path / "aside" / f"{number} {split} {index} folder")
                else:
                    put(file)
                is_listed = with_metadata and rng.random() < 0.7
                listed += [path.relative_to(split).as_posix()] * is_listed
                taken = where not in ("hidden", "text") and (is_listed or not with_metadata)
                (held if taken else left)[split].add(path.as_posix())
            if with_metadata:
                rows = [{"file_name": name, "caption": i} for i, name in enumerate([*listed, "gone.png"])]
                (folder / split).mkdir(parents=True, exist_ok=True)
                (folder / split / "metadata.csv").write_text(csv(rows))
                left[split].add(Path(split, "gone.png").as_posix())
        for split in splits:
            data = HuggingFaceData(str(folder), SHAPE, split or "train")
            if not held[split]:
                with pytest.raises(DataError, match="holds no pictures"):
                    data.open()
                continue
            examples = data.open()
            named = {line.rsplit(" (", 1)[0] for line in examples.left_out}
            assert (len(examples), named) == (len(held[split]), left[split]), folder
