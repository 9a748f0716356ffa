"""Parquet files read where they lie: the same examples, in an order that is a function of the seed."""

from __future__ import annotations

import threading
from pathlib import Path

import datasets
import pytest
import torch

import launch
from modules.core.checks import ConfigurationError, DataError
from modules.data import HuggingFaceData, TrainingStream
from modules.data.stream import epoch_permutation
from modules.data.streamed import RowGroups, StreamedExamples
from modules.storage import checkpoints
from tests.tiny import TINY

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "modules/data/digits.parquet"
SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path) -> Path:
    """120 digits in three files, each of four groups of ten."""
    digits = datasets.Dataset.from_parquet(str(DIGITS)).select(range(120))
    (tmp_path / "set").mkdir()
    for i in range(3):
        part = digits.select(range(40 * i, 40 * i + 40))
        part.to_parquet(str(tmp_path / f"set/train-{i:05}-of-00003.parquet"), batch_size=10)
    return tmp_path / "set"


def _open(folder: Path, **settings) -> StreamedExamples:
    data = HuggingFaceData(str(folder), SHAPE, num_classes=10, streamed=True, **{"window": 25, **settings})
    examples = data.open()
    assert isinstance(examples, StreamedExamples) and data.class_names == examples.class_names
    return examples


def _read_groups(monkeypatch) -> list[int]:
    """The first row of each group as it is read."""
    read, found = RowGroups.read, []

    def noted(self, group):
        found.append(group.start)
        return read(self, group)

    monkeypatch.setattr(RowGroups, "read", noted)
    return found


def test_it_holds_what_the_set_in_memory_holds(folder):
    streamed = _open(folder)
    memory = HuggingFaceData(str(folder), SHAPE, num_classes=10).open()
    assert len(streamed) == len(memory) == 120 and streamed.class_names == memory.class_names
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(streamed.rows(order), memory.rows(order), strict=True):
        assert torch.equal(found, wanted)
    assert streamed.grey_values == memory.grey_values
    assert HuggingFaceData(str(folder), SHAPE, streamed=True).pictures().sizes(2) == {(8, 8)}


def test_an_epoch_is_a_permutation_in_windows_of_groups():
    blocks = torch.tensor([7, 1, 5, 0, 9, 3, 6])
    ends = blocks.cumsum(0)
    orders = [epoch_permutation(3, epoch, 31, blocks, window=10) for epoch in range(3)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(31))
        of = torch.bucketize(order, ends, right=True)
        first, last = [
            {b: pick([i for i in range(31) if of[i] == b]) for b in of.unique().tolist()}
            for pick in (min, max)
        ]
        # a group that has begun is over within a window of the last
        assert all(last[b] - first[b] < 10 + 9 for b in first)
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[2], epoch_permutation(3, 2, 31, blocks, window=10))


@pytest.mark.parametrize("num_workers", [0, 3])
def test_each_group_is_read_once_an_epoch_and_two_windows_are_kept(folder, monkeypatch, num_workers):
    examples = _open(folder)
    read = _read_groups(monkeypatch)
    stream = TrainingStream(examples, 12, seed=1, num_workers=num_workers)
    batches = stream.iterate(0, [range(12)])
    for _ in range(10):
        next(batches)
    batches.close()
    # one epoch, and what workers prepared of the next
    assert sorted(read[:12]) == list(range(0, 120, 10))
    assert len(read) <= 12 + (6 if num_workers else 0)
    assert sum(int(examples.lengths[number]) for number in examples._kept) <= 2 * (25 + 10)


def test_processes_and_a_later_start_see_the_same_batches(folder, monkeypatch):
    whole = TrainingStream(_open(folder), 8, seed=5)
    expected = [whole.batch(step, range(8)) for step in range(20)]
    read = _read_groups(monkeypatch)
    resumed = TrainingStream(_open(folder), 8, seed=5)
    for rows in (range(4), range(4, 8)):
        part = resumed.batch(17, rows)
        assert torch.equal(part.image, expected[17].image[rows.start : rows.stop])
        assert torch.equal(part.label, expected[17].label[rows.start : rows.stop])
    # the first group, for its columns, and those of the windows that the step lies in
    assert len(read) <= 1 + 6


def test_threads_that_ask_at_once_read_a_group_once(folder, monkeypatch):
    examples = _open(folder)
    read = _read_groups(monkeypatch)
    threads = [threading.Thread(target=examples.rows, args=(torch.arange(10),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [0]


def test_a_resumed_run_ends_as_one_that_was_not_stopped(folder, tmp_path):
    settings = [
        *("HuggingFaceData.streamed=True", "HuggingFaceData.window=25", "HuggingFaceData.shape=%SHAPE"),
        *("Trainer.data=@HuggingFaceData()", f'HuggingFaceData.source="{folder}"', "Trainer.num_workers=2"),
    ]
    (tmp_path / "tiny.gin").write_text(
        TINY.replace('include "data/digits.gin"', "SHAPE = (1, 8, 8)\nNUM_CLASSES = 0")
    )
    words = ["--gin", str(tmp_path / "tiny.gin"), *(w for s in settings for w in ("--set", s))]
    assert launch.main([*words, "--output", str(tmp_path / "straight")]) == 0
    second = checkpoints.path_of(tmp_path / "straight", 2)
    assert launch.main([*words, "--output", str(tmp_path / "resumed"), "--resume", str(second)]) == 0
    one, other = (checkpoints.load(checkpoints.path_of(tmp_path / n, 4)) for n in ("straight", "resumed"))
    assert one[0].keys() == other[0].keys()
    for group, tensors in one[0].items():
        assert all(torch.equal(value, other[0][group][name]) for name, value in tensors.items()), group


def test_another_set_has_another_fingerprint(folder):
    before = _open(folder).fingerprint
    assert _open(folder).fingerprint == before
    (folder / "train-00002-of-00003.parquet").rename(folder / "train-00002-of-00002.parquet")
    assert _open(folder).fingerprint != before


def _numbers(folder: Path) -> None:
    part = datasets.Dataset.from_parquet(str(folder / "train-00000-of-00003.parquet"))
    part.cast_column("label", datasets.Value("int64")).to_parquet(
        str(folder / "train-00000-of-00003.parquet")
    )


def _broken(folder: Path) -> None:
    path = folder / "train-00001-of-00003.parquet"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "spoil, expected",
    [
        (_numbers, "column 'label' holds int64, whose classes are known when all is read"),
        (_broken, "train-00001-of-00003.parquet cannot be read"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "is not of parquet files"),
    ],
    ids=["labels without names", "a broken file", "no parquet"],
)
def test_what_cannot_be_streamed_is_told_in_a_line(folder, spoil, expected):
    spoil(folder)
    with pytest.raises(DataError, match=expected) as told:
        _open(folder)
    assert "\n" not in str(told.value)


def test_bad_images_are_not_left_out(folder):
    with pytest.raises(ConfigurationError, match="max_bad_images is for sets on this disk"):
        _open(folder, max_bad_images=3)
    path = folder / "train-00000-of-00003.parquet"
    part = datasets.Dataset.from_parquet(str(path)).cast_column("image", datasets.Image(decode=False))
    rows = part.to_list()
    rows[13]["image"] = {"bytes": b"no picture", "path": None}
    datasets.Dataset.from_list(rows, features=part.features).cast_column(
        "image", datasets.Image()
    ).to_parquet(str(path), batch_size=10)
    examples = _open(folder)
    with pytest.raises(DataError, match=r"from image 10 on: image 3 "):
        examples.rows(torch.tensor([13]))
    data = HuggingFaceData(str(folder), SHAPE, streamed=True)
    assert len(list(data.faults())) == 1
