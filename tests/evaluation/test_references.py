"""Kept references: each input that changes the value changes the key, and nothing else does."""

from __future__ import annotations

import io
import sys
import time

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modules.data.base import Data, Examples, MemoryExamples
from modules.data.hub import HuggingFaceData
from modules.data.points import Checkerboard
from modules.data.shapes import Shapes
from modules.evaluation.evaluation import Evaluation
from modules.features.base import Extracted, Extractor, Features
from modules.features.module import ModuleFeatures
from modules.features.pixels import RawPixels
from modules.metrics.fid import FID
from modules.metrics.kid import KID
from modules.runtime.runtime import Runtime


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "recovery-likelihood" / "references"


def _pixels(num: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (num, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).byte()


class Given(Data):
    """Images in memory."""

    def __init__(self, images: Tensor, labels: Tensor | None = None, names: tuple[str, ...] = ()) -> None:
        super().__init__(tuple(images.shape[1:]), len(names))
        self.images, self.labels, self.names = images, labels, names
        self._opened = MemoryExamples(images, labels, names)

    def open(self) -> Examples:
        return self._opened


def _references(data: Data, metric=None, extractor: Extractor | None = None):
    """What a metric is given of a data set, by way of what is kept."""
    metric = FID() if metric is None else metric
    Evaluation([metric], extractor or RawPixels(), 4).open(data, Runtime(trackers=()))
    return metric.references


def test_a_set_of_which_most_was_replaced_is_another(kept):
    """64 examples spread evenly over 640, which once stood for all, are left as they were."""
    images = _pixels(640)
    replaced = _pixels(640, seed=1) // 4
    replaced[::10] = images[::10]
    before = _references(Given(images)).mean
    after = _references(Given(replaced)).mean
    for mean, x in ((before, images), (after, replaced)):
        torch.testing.assert_close(mean, (x.double() / 127.5 - 1).flatten(1).mean(0), rtol=0, atol=1e-6)
    assert len(list(kept.iterdir())) == 2
    _references(Given(images.clone()))
    assert len(list(kept.iterdir())) == 2


def _parquet(path, images: Tensor) -> str:
    rows = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image[0].numpy()).save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": rows, "label": [0, 1] * (len(rows) // 2)}, features)
    table.to_parquet(str(path))
    return str(path)


@pytest.mark.parametrize("limit", [0, 2**20], ids=["mapped", "in memory"])
def test_a_pixel_of_one_picture_is_enough(tmp_path, limit):
    images = _pixels(20)
    other = images.clone()
    other[13, 0, 2, 2] ^= 1
    places = [_parquet(tmp_path / f"{i}.parquet", x) for i, x in enumerate((images, images, other))]
    one, same, changed = (
        HuggingFaceData(p, (1, 4, 4), in_memory_limit_bytes=limit).open().fingerprint for p in places
    )
    labelled = HuggingFaceData(places[0], (1, 4, 4), num_classes=2, in_memory_limit_bytes=limit).open()
    assert one == same and len({one, changed, labelled.fingerprint}) == 3


def test_fingerprints_know_values_order_labels_names_and_settings():
    images, labels = _pixels(30), torch.arange(30) % 2
    sets = [
        MemoryExamples(images, labels, ["a", "b"]),
        MemoryExamples(images, labels, ["b", "a"]),
        MemoryExamples(images, 1 - labels, ["a", "b"]),
        MemoryExamples(images.flip(0), labels, ["a", "b"]),
        MemoryExamples(images[:29], labels[:29], ["a", "b"]),
        MemoryExamples(images.float() / 127.5 - 1, labels, ["a", "b"]),
        Checkerboard(0.5).open(),
        Checkerboard(0.5, seed=1).open(),
        Checkerboard(0.5, length=2**19).open(),
        Shapes().open(),
        Shapes(seed=1).open(),
    ]
    assert len({examples.fingerprint for examples in sets}) == len(sets)
    assert Checkerboard(0.5).open().fingerprint == Checkerboard(0.5).open().fingerprint


def test_all_of_fifty_thousand_images_take_a_moment():
    images = torch.zeros(50_000, 3, 32, 32, dtype=torch.uint8)
    start = time.perf_counter()
    MemoryExamples(images).fingerprint  # noqa: B018
    assert time.perf_counter() - start < 5


class Tenfold(Extractor):
    """Pixels times a factor, whose protocol says nothing of it."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def open(self, shape: tuple[int, ...], device: torch.device) -> Features:
        def extract(x: Tensor) -> Extracted:
            return Extracted(x.float().flatten(1) * self.factor)

        return Features(extract, {"extractor": "Tenfold", "weights": None, "resize": None}, False)


class Doubled(KID):
    """Of features, twice: a summary of its own, in the store of others."""

    def summary(self, x: Tensor, indices: Tensor) -> Tensor:
        return 2 * x


def _module(**changes) -> ModuleFeatures:
    given = {"mean": (0.5,), "std": (0.5,)} | changes
    return ModuleFeatures("torch.nn.Flatten", **given)


def _rows(x: Tensor, mean: float = 0.5, std: float = 0.5) -> Tensor:
    return ((x.float() / 255 - mean) / std).flatten(1)


INPUTS = {
    "mean": (KID, _module(mean=(0.4,)), lambda x: _rows(x, mean=0.4)),
    "std": (KID, _module(std=(0.25,)), lambda x: _rows(x, std=0.25)),
    "an argument of an extractor of one's own": (KID, Tenfold(10.0), lambda x: 10 * x.float().flatten(1)),
    "the same with another value": (KID, Tenfold(3.0), lambda x: 3 * x.float().flatten(1)),
    "a metric's own summary": (Doubled, _module(), lambda x: 2 * _rows(x)),
}


def test_each_input_of_the_value_is_part_of_the_key(kept):
    images, seen = _pixels(12), 1
    torch.testing.assert_close(_references(Given(images), KID(), _module()).read(), _rows(images))
    for what, (metric, extractor, expected) in INPUTS.items():
        found = _references(Given(images), metric(), extractor).read()
        torch.testing.assert_close(found, expected(images), msg=what)
        seen += 1
        assert len(list(kept.iterdir())) == seen, what


NETWORK = """
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        return x.flatten(1) * {}
"""


def test_code_is_part_of_the_key(tmp_path, monkeypatch):
    """A network's file that changed under the same name, with the same weights."""
    found = []
    for factor in (1, 2):
        (tmp_path / str(factor)).mkdir()
        file = tmp_path / str(factor) / "network_of_mine.py"
        file.write_text(NETWORK.format(factor))
        monkeypatch.syspath_prepend(str(file.parent))
        monkeypatch.delitem(sys.modules, "network_of_mine", raising=False)
        extractor = ModuleFeatures("network_of_mine.Net", mean=(0.0,), std=(1.0,))
        found.append(_references(Given(_pixels(12)), KID(), extractor).read())
    np.testing.assert_allclose(found[1], 2 * found[0].numpy(), rtol=1e-6)
