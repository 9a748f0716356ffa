"""Tables and folders of six small images, each different, with classes: what tests of their loader read."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from PIL import Image

SHAPE = (3, 4, 4)
CLASSES = ["cat", "dog", "owl"]


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


def saved_with_splits() -> str:
    DatasetDict({"train": labelled(), "test": labelled(first=9)}).save_to_disk("both")
    return "both"
