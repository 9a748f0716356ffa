"""Pictures of every kind of damage: decoded, or named in one line; never a hang, never another's code run."""

from __future__ import annotations

import io
import logging
import time
from pathlib import Path

import datasets
import pytest
import torch
from datasets import Dataset, Features, Value
from PIL import Image

import launch
from modules.core.checks import DataError
from modules.data import HuggingFaceData
from modules.data.images import decode_image
from modules.data.stream import TrainingStream
from tests.data.broken_pictures import KINDS, bomb, broken, sound
from tests.tiny import TINY

pytestmark = pytest.mark.usefixtures("own_cache")

SHAPE = (3, 8, 8)
SECONDS = 5  # of a picture; a sound one takes a millisecond


def save(pictures: list[bytes], name: str = "set") -> str:
    """A saved set of encoded pictures "0.img", "1.img", ... whose labels are their indices."""
    rows = {
        "image": [{"bytes": data, "path": f"{i}.img"} for i, data in enumerate(pictures)],
        "label": list(range(len(pictures))),
    }
    features = Features({"image": datasets.Image(), "label": Value("int64")})
    Dataset.from_dict(rows, features=features).save_to_disk(name)
    return name


def fault_of(data: bytes) -> str | None:
    """What is said of a picture as the second of two, None where it is decoded."""
    try:
        HuggingFaceData(save([sound(0), data]), SHAPE).open()
    except DataError as error:
        return str(error)
    return None


def frames() -> bytes:
    file = io.BytesIO()
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    red.save(file, "GIF", save_all=True, append_images=[blue], duration=50)
    return file.getvalue()


BAD = {
    "zero bytes": (b"", "it is empty"),
    "text": (b"<html>404 not found</html>", "no picture in a format that is read: PNG, JPEG"),
    "truncated": (sound(0)[:-200], "truncated"),
    "cut in its head": (sound(1)[:10], "cannot be decoded"),
    "a bomb": (bomb(60_000, 60_000), "3600000000 pixels"),
    "no pixels": (bomb(0, 5), "cannot be decoded"),
    "a program": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file\n",
        "no picture in a format",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_named(name):
    data, words = BAD[name]
    message = fault_of(data)
    assert message is not None and "\n" not in message
    assert "set (train): image 1 (1.img: " in message and words in message and "max_bad_images" in message


def test_odd_pictures_are_no_faults():
    one = io.BytesIO()
    Image.new("RGB", (1, 1), "red").save(one, "PNG")
    thin = io.BytesIO()
    Image.new("L", (1, 500), 200).save(thin, "PNG")
    images, _ = (
        HuggingFaceData(save([one.getvalue(), thin.getvalue(), frames()]), SHAPE).open().rows(torch.arange(3))
    )
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(SHAPE)
    assert torch.equal(images[0], red)
    assert torch.allclose(images[1], torch.tensor(200 / 127.5 - 1))
    assert torch.equal(images[2], red)  # an animation's first frame


def test_training_ends_in_one_line_before_any_step(capsys):
    Path("pets").mkdir()
    for name, data in (("a.png", sound(0)), ("b.png", b"")):
        Path("pets", name).write_bytes(data)
    Path("tiny.gin").write_text(
        TINY.replace('include "data/digits.gin"', "SHAPE = (1, 8, 8)\nNUM_CLASSES = 0")
    )
    settings = [
        "Trainer.data=@HuggingFaceData()",
        "HuggingFaceData.shape=%SHAPE",
        'HuggingFaceData.source="pets"',
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    assert launch.main(["--gin", "tiny.gin", "--output", "run", *words]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert printed[-1].startswith("error: ") and "pets (train): image 1 (" in printed[-1]
    assert "it is empty) cannot be decoded" in printed[-1]
    assert not list(Path("run").rglob("step_*"))
    # with leave to skip it, one image is left, too few for a batch
    assert (
        launch.main(
            ["--gin", "tiny.gin", "--output", "run2", *words, "--set", "HuggingFaceData.max_bad_images=1"]
        )
        == 2
    )
    assert "error: batch_size 8 is larger than the data set of 1 examples" in capsys.readouterr().err


def test_the_order_of_training_does_not_know_what_was_met_before():
    """Of a mapped set with bad images: batches by step, whether asked for in order, alone or with threads."""
    source = save([sound(i) if i % 3 else b"" for i in range(12)])

    def stream(num_workers: int = 0) -> TrainingStream:
        data = HuggingFaceData(source, SHAPE, num_classes=12, in_memory_limit_bytes=0, max_bad_images=4)
        return TrainingStream(data.open(), 4, seed=1, num_workers=num_workers)

    straight = [batches[0] for _, batches in zip(range(6), stream().iterate(0, [range(4)]), strict=False)]
    threads = [batches[0] for _, batches in zip(range(6), stream(3).iterate(0, [range(4)]), strict=False)]
    resumed = stream().batch(5, range(4))
    halves = [stream().batch(4, rows) for rows in (range(2), range(2, 4))]
    for one, other in [*zip(straight, threads, strict=True), (straight[5], resumed)]:
        assert torch.equal(one.image, other.image) and torch.equal(one.label, other.label)
    assert torch.equal(straight[4].label, torch.cat([half.label for half in halves]))
    assert set(torch.cat([batch.label for batch in straight]).tolist()) <= {1, 2, 4, 5, 7, 8, 10, 11}


def test_every_fault_of_a_set_is_listed():
    rows = {
        "image": [sound(0), b"no picture", sound(1), sound(2)[:30]],
        "label": [0, None, 7, -1],
    }
    features = Features({"image": Value("binary"), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows["label"] = [0, None, 1, 1]
    Dataset.from_dict(rows, features=features).save_to_disk("set")
    lines = list(HuggingFaceData("set", SHAPE, num_classes=2).faults())
    assert len(lines) == 3
    assert "the label at index 1 (column 'label') is missing" in lines[0]
    assert "image 1 (it is no picture" in lines[1] and "image 3 (" in lines[2]
    assert list(HuggingFaceData("nowhere.parquet", SHAPE).faults()) == [
        "there is no file or folder nowhere.parquet."
    ]


def check(numbers: range) -> None:
    bad = []
    for number in numbers:
        start = time.monotonic()
        try:
            pixels = decode_image(broken(number), SHAPE)
            assert pixels.shape == SHAPE and pixels.dtype == torch.uint8
        except Exception:  # whatever Pillow's readers raise: that it is told in one line is seen below
            bad.append(number - numbers.start)
        assert time.monotonic() - start < SECONDS, number
    assert len(numbers) > 2 * len(KINDS) and 0.2 < len(bad) / len(numbers) < 0.9

    source = save([broken(number) for number in numbers])
    lines = list(HuggingFaceData(source, SHAPE).faults())
    assert len(lines) == len(bad)
    for index, line in zip(bad, lines, strict=True):
        assert f"image {index} ({index}.img: " in line and "\n" not in line and len(line) < 400

    good = [index for index in range(len(numbers)) if index not in bad]
    for limit in (2**30, 0):
        options = {"num_classes": len(numbers), "in_memory_limit_bytes": limit}
        examples = HuggingFaceData(source, SHAPE, max_bad_images=len(bad), **options).open()
        labels = examples.rows(torch.arange(len(examples)))[1][:, 0].tolist()
        after = [
            next(g for g in [*good, *(g + len(numbers) for g in good)] if g >= i) for i in range(len(numbers))
        ]
        assert labels == (good if limit else [g % len(numbers) for g in after])
        with pytest.raises(DataError, match=f"more than {len(bad) - 1} images cannot be decoded: "):
            few = HuggingFaceData(source, SHAPE, max_bad_images=len(bad) - 1, **options).open()
            few.rows(torch.arange(len(few)))


def test_broken_pictures(caplog):
    caplog.set_level(logging.ERROR)
    check(range(40))


@pytest.mark.slow
def test_many_broken_pictures(caplog):
    caplog.set_level(logging.ERROR)
    check(range(40, 240))
