"""A column of encoded pictures, decoded at once into memory or one by one when asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from modules.checks import DataError
from modules.data.base import Examples, to_unit_range
from modules.data.images import decode_image
from modules.data.labels import check_column

if TYPE_CHECKING:
    from datasets import Dataset

_IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "png", "jpg")
_CHUNK = 256
_log = logging.getLogger(__name__)


def find_image_column(dataset: Dataset, where: str) -> str:
    """The one column of type Image, or else the one called image, img, ...

    Raises:
        DataError: if there is none, or several to choose from.
    """
    import datasets

    features = dataset.features
    found = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    found = found or [name for name in features if name in _IMAGE_NAMES]
    if len(found) != 1:
        many = f"several columns of images ({', '.join(found)})"
        none = f"no column of images among {', '.join(features)}"
        raise DataError(f"{where} has {many if found else none}: set HuggingFaceData.image_column")
    return found[0]


class BadImages:
    """What becomes of images that cannot be decoded: an error, or counted and left out up to a limit."""

    def __init__(self, skip: bool, limit: int, where: str) -> None:
        self.skip, self.limit, self.where = skip, limit, where
        self.indices: set[int] = set()

    def add(self, index: int, file: str, error: Exception) -> None:
        """Count one. Raises DataError unless it may be skipped."""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if not self.skip:
            raise DataError(
                f"{self.where}: image {index}{file} cannot be decoded ({reason}): replace it, or set "
                f'HuggingFaceData.on_bad_image = "skip"'
            ) from error
        self.indices.add(index)
        if len(self.indices) > self.limit:
            raise DataError(
                f"{self.where}: more than {self.limit} images cannot be decoded, such as {index}{file}: "
                f"repair the set, or raise HuggingFaceData.max_bad_images"
            ) from error


class Pictures:
    """The encoded pictures of a column.

    Args:
        dataset: of Hugging Face datasets.
        column: of type Image, or of structs with bytes and path, or of bytes.
        shape: (c, h, w) they are decoded to.
        bad: what becomes of those that cannot be decoded.
    """

    def __init__(self, dataset: Dataset, column: str, shape: tuple[int, ...], bad: BadImages) -> None:
        import datasets

        check_column(dataset, column, bad.where)
        dataset = dataset.select_columns([column]).with_format(None)
        if isinstance(dataset.features[column], datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
        self.dataset, self.column, self.shape, self.bad = dataset, column, shape, bad

    def __len__(self) -> int:
        return len(self.dataset)

    def decode(self, indices: Sequence[int]) -> list[Tensor | None]:
        """Pictures by index, uint8 (c, h, w); None for a bad one that is to be skipped."""
        values = self.dataset[list(indices)][self.column]
        return [self._decode(index, value) for index, value in zip(indices, values, strict=True)]

    def _decode(self, index: int, value: object) -> Tensor | None:
        encoded, file = value, ""
        if isinstance(value, dict):
            encoded = value.get("bytes")
            if value.get("path"):
                file = f" ({value['path']})"
                encoded = value["path"] if encoded is None else encoded
        if encoded is not None and not isinstance(encoded, (bytes, str)):
            raise DataError(
                f"{self.bad.where}: column {self.column!r} holds {type(encoded).__name__}, not encoded "
                f"images: set HuggingFaceData.image_column"
            )
        try:
            if not encoded:
                raise ValueError("it is empty")
            return decode_image(encoded, self.shape)
        except Exception as error:  # Pillow's readers raise errors of many kinds on broken files
            self.bad.add(index, file, error)
            return None


def decode_all(pictures: Pictures, num_workers: int) -> tuple[Tensor, Tensor]:
    """All pictures (n, c, h, w) uint8, less the bad ones, and the indices (n,) of those that are there."""
    total = len(pictures)
    images = torch.empty((total, *pictures.shape), dtype=torch.uint8)
    good = torch.ones(total, dtype=torch.bool)

    def fill(start: int) -> int:
        indices = range(start, min(start + _CHUNK, total))
        for index, picture in zip(indices, pictures.decode(indices), strict=True):
            if picture is None:
                good[index] = False
            else:
                images[index] = picture
        return len(indices)

    # one bar, of the first process, for sets that take seconds
    silent = True if total <= 5000 or os.environ.get("RANK", "0") != "0" else None
    with (
        tqdm(total=total, desc="decoding images", unit="img", disable=silent, leave=False) as bar,
        ThreadPoolExecutor(num_workers) as pool,  # decoding leaves the interpreter lock
    ):
        for done in pool.map(fill, range(0, total, _CHUNK)):
            bar.update(done)
    if good.all():
        return images, torch.arange(total)
    _log.warning("%s: left out %d images that cannot be decoded", pictures.bad.where, int((~good).sum()))
    if not good.any():
        raise DataError(f"{pictures.bad.where}: none of the {total} images can be decoded")
    return images[good], good.nonzero()[:, 0]


class MappedExamples(Examples):
    """Examples decoded when asked for, from a memory-mapped set.

    A bad image that may be skipped is replaced by the next good one of the set, with its label.

    Args:
        pictures: the n encoded pictures.
        labels: (n, A) int64.
        class_names: one name a class.
    """

    def __init__(self, pictures: Pictures, labels: Tensor, class_names: Sequence[str]) -> None:
        self.pictures, self.labels = pictures, labels
        self.shape, self.class_names = pictures.shape, list(class_names)

    def __len__(self) -> int:
        return len(self.pictures)

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        taken = indices.tolist()
        found = self.pictures.decode(taken)
        images = []
        for place, picture in enumerate(found):
            while picture is None:
                if len(self.pictures.bad.indices) == len(self):
                    raise DataError(
                        f"{self.pictures.bad.where}: none of the {len(self)} images can be decoded"
                    )
                taken[place] = (taken[place] + 1) % len(self)
                picture = self.pictures.decode([taken[place]])[0]
            images.append(picture)
        return to_unit_range(torch.stack(images)), self.labels[torch.tensor(taken)]
