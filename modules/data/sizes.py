"""How large the images of a set were before they were brought to its shape."""

from __future__ import annotations

from modules.data.base import Data
from modules.data.hub import HuggingFaceData
from modules.data.pictures import BadImages, Pictures, find_image_column
from modules.data.sources import open_source


def original_sizes(data: Data, count: int = 32) -> set[tuple[int, ...]]:
    """(height, width) of the first `count` pictures; a set that isn't read from pictures has its own."""
    if not isinstance(data, HuggingFaceData):
        return {data.shape[1:]}
    dataset = open_source(data.source, data.split, data.config)
    where = f"{data.source} ({data.split})"
    column = data.image_column or find_image_column(dataset, where)
    return {*Pictures(dataset, column, data.shape, BadImages(data.max_bad_images, where)).sizes(count)}
