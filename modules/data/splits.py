"""Names of splits: which there are, and which one is meant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modules.core.checks import DataError, nearest

SPLITS = {"train", "test", "validation", "valid", "val", "dev", "eval", "extra", "unlabeled"}
"""Names by which files and folders are known to be splits."""


def split_named(source: Path, split: str, known: Iterable[str]) -> str:
    """The split that is asked for; of a source without names it is "train", or what the source is called.

    Raises:
        DataError: there is no such split.
    """
    found = list(known)
    if not found:
        if split in ("train", source.name):
            return "train"
        found = ["train"]
    if split not in found:
        raise unknown_split(str(source), split, found)
    return split


def unknown_split(source: str, split: str, known: Iterable[str]) -> DataError:
    """The error that names the splits that there are."""
    found = list(known)
    return DataError(f"{source} has no split {split!r}, only {', '.join(found)}.{nearest(split, found)}")
