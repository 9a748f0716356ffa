"""Arrays from files that somebody names."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from modules.core.checks import DataError


def load(path: Path) -> dict[str, Any]:
    """The arrays of a .npz by name, or that of a .npy as "images".

    Raises:
        DataError: no such file, or one that holds something else than arrays of numbers.
    """
    if not path.is_file():
        raise DataError(f"{path} is no file")
    try:
        found = np.load(path, allow_pickle=False)
        return {"images": found} if isinstance(found, np.ndarray) else {name: found[name] for name in found}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise DataError(f"{path} is no .npy or .npz file of numbers") from fault


def images(path: Path) -> np.ndarray:
    """The array "images" of a file.

    Raises:
        DataError: as `load`, and without such an array.
    """
    arrays = load(path)
    if "images" not in arrays:
        raise DataError(f"{path} holds no array 'images', only {', '.join(arrays) or 'nothing'}")
    return arrays["images"]
