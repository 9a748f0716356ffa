"""A column of encoded pictures, decoded at once into memory or one by one when asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from modules.core.checks import DataError
from modules.core.fingerprints import bytes_of
from modules.data.base import Examples
from modules.data.images import decode_image, image_size
from modules.data.labels import check_column
from modules.data.quantization import to_unit_range
from modules.data.table_paths import with_absolute_paths

if TYPE_CHECKING:
    from datasets import Dataset

_IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "png", "jpg")
_CHUNK = 256
_LISTED = 8  # of the bad images in a message
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
    """Images that cannot be decoded: counted and left out up to a limit, beyond it an error.

    Args:
        limit: how many may be left out; 0: the first is an error.
        where: the set, in messages.
    """

    def __init__(self, limit: int, where: str) -> None:
        self.limit, self.where = limit, where
        self.found: dict[int, str] = {}

    def add(self, index: int, file: str, error: Exception) -> None:
        """Take note of one. Raises DataError where it is one too many."""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        self.found[index] = f"{index} ({file}: {reason})" if file else f"{index} ({reason})"
        if len(self.found) <= self.limit:
            return
        if self.limit == 0:
            raise DataError(
                f"{self.where}: image {self.found[index]} cannot be decoded: replace it, or set "
                "HuggingFaceData.max_bad_images to the number that may be left out"
            ) from error
        raise DataError(
            f"{self.where}: more than {self.limit} images cannot be decoded: {self.listed()}: "
            "repair the set, or raise HuggingFaceData.max_bad_images"
        ) from error

    def listed(self) -> str:
        """The first of them, each with its file and what is wrong."""
        items = [self.found[index] for index in sorted(self.found)]
        return ", ".join(items[:_LISTED]) + (
            f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
        )


class Pictures:
    """The encoded pictures of a column.

    Args:
        dataset: of Hugging Face datasets.
        column: of type Image, or of structs with bytes and path, or of bytes.
        shape: (c, h, w) they are decoded to.
        bad: what becomes of those that cannot be decoded.
        folder: where paths in the column start from; None: there are none.
    """

    def __init__(
        self,
        dataset: Dataset,
        column: str,
        shape: tuple[int, ...],
        bad: BadImages,
        folder: Path | None = None,
    ) -> None:
        import datasets

        check_column(dataset, column, bad.where)
        dataset = with_absolute_paths(dataset, column, folder)
        if isinstance(dataset.features[column], datasets.Image):
            dataset = dataset.cast_column(column, datasets.Image(decode=False))
        self.dataset, self.column, self.shape, self.bad = dataset, column, shape, bad

    def __len__(self) -> int:
        return len(self.dataset)

    def decode(self, indices: Sequence[int]) -> list[Tensor | None]:
        """Pictures by index, uint8 (c, h, w); None for a bad one that is to be skipped."""
        values = self.dataset[list(indices)][self.column]
        return [self._decode(index, value) for index, value in zip(indices, values, strict=True)]

    def encoded(self) -> Iterator[bytes]:
        """The bytes of each picture, undecoded; none of a file that isn't there."""
        for start in range(0, len(self), _CHUNK):
            for value in self.dataset[range(start, min(start + _CHUNK, len(self)))][self.column]:
                yield _bytes_of_picture(value)

    def search(self) -> Iterator[str]:
        """Decode all; of each bad one its index, file and what is wrong."""
        for start in range(0, len(self), _CHUNK):
            indices = range(start, min(start + _CHUNK, len(self)))
            for index, picture in zip(indices, self.decode(indices), strict=True):
                if picture is None:
                    yield self.bad.found[index]

    def sizes(self, count: int) -> set[tuple[int, int]]:
        """(height, width) of the first `count` that are pictures; the others are for `decode` to judge."""
        found: list[tuple[int, int]] = []
        for index in range(len(self)):
            encoded, _ = self._encoded(self.dataset[index][self.column])
            try:
                found += [image_size(encoded)] if encoded else []
            except Exception:  # Pillow's readers raise errors of many kinds on broken files
                continue
            if len(found) == count:
                break
        return set(found)

    def _encoded(self, value: object) -> tuple[bytes | str | None, str]:
        """A value's encoded picture or the path of its file, and the file's name where there is one."""
        encoded, file = value, ""
        if isinstance(value, dict):
            encoded = value.get("bytes")
            if value.get("path"):
                file = value["path"]
                encoded = value["path"] if encoded is None else encoded
        if encoded is not None and not isinstance(encoded, (bytes, str)):
            raise DataError(
                f"{self.bad.where}: column {self.column!r} holds {type(encoded).__name__}, not encoded "
                f"images: set HuggingFaceData.image_column"
            )
        return encoded, file

    def _decode(self, index: int, value: object) -> Tensor | None:
        encoded, file = self._encoded(value)
        try:
            if not encoded or (isinstance(encoded, str) and os.stat(encoded).st_size == 0):
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
    bad = pictures.bad
    if not good.any():
        raise DataError(f"{bad.where}: none of the {total} images can be decoded: {bad.listed()}")
    _log.warning("%s: left out %d of %d images: %s", bad.where, len(bad.found), total, bad.listed())
    return images[good], good.nonzero()[:, 0]


class MappedExamples(Examples):
    """Examples decoded when asked for, from a memory-mapped set.

    A bad image that may be left out is replaced by the next good one of the set, with its label: a function
    of its index alone, so that every process and every resumed run puts the same one in its place.

    Args:
        pictures: the n encoded pictures.
        labels: (n, A) int64.
        class_names: one name a class.
    """

    grey_values = 256

    def __init__(self, pictures: Pictures, labels: Tensor, class_names: Sequence[str]) -> None:
        self.pictures, self.labels = pictures, labels
        self.shape, self.class_names = pictures.shape, list(class_names)

    def __len__(self) -> int:
        return len(self.pictures)

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        taken, bad = indices.tolist(), self.pictures.bad
        found = self.pictures.decode(taken)
        images = []
        for place, picture in enumerate(found):
            while picture is None:
                if len(bad.found) == len(self):
                    raise DataError(
                        f"{bad.where}: none of the {len(self)} images can be decoded: {bad.listed()}"
                    )
                taken[place] = (taken[place] + 1) % len(self)
                picture = self.pictures.decode([taken[place]])[0]
            images.append(picture)
        return to_unit_range(torch.stack(images)), self.labels[torch.tensor(taken)]

    def contents(self) -> Iterator[bytes | memoryview]:
        """The pictures as they are encoded, and who decodes them: nothing is decoded."""
        import PIL

        yield f"Pillow {PIL.__version__}".encode()
        for picture in self.pictures.encoded():
            yield len(picture).to_bytes(8, "little")
            yield picture
        yield bytes_of(self.labels)


def _bytes_of_picture(value: object) -> bytes:
    """Of a row's value: bytes, a path, or a struct of these."""
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, str):
        try:
            return Path(value).read_bytes()
        except OSError:
            return b""  # a bad image: whoever decodes it says so
    return value if isinstance(value, bytes) else b""
