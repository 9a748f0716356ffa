"""How large the images of a set were before they were brought to its shape."""

from __future__ import annotations

from modules.data.base import Data
from modules.data.hub import HuggingFaceData


def original_sizes(data: Data, count: int = 32) -> set[tuple[int, ...]]:
    """(height, width) of the first `count` pictures; a set that isn't read from pictures has its own."""
    return {*data.pictures().sizes(count)} if isinstance(data, HuggingFaceData) else {data.shape[1:]}
