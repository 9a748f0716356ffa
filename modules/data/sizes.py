"""How large the images of a set were before they were brought to its shape."""

from __future__ import annotations

import io

from modules.data.base import Data
from modules.data.hub import HuggingFaceData
from modules.data.pictures import find_image_column
from modules.data.sources import open_source
from modules.data.table_paths import with_absolute_paths


def original_sizes(data: Data, count: int = 32) -> set[tuple[int, ...]]:
    """(height, width) of the first `count` images; a set that isn't read from pictures has its own."""
    if not isinstance(data, HuggingFaceData):
        return {data.shape[1:]}
    import datasets
    from PIL import Image

    opened = open_source(data.source, data.split, data.config)
    column = data.image_column or find_image_column(opened.table, data.where)
    dataset = with_absolute_paths(opened.table, column, opened.folder)
    dataset = dataset.cast_column(column, datasets.Image(decode=False))
    found: set[tuple[int, ...]] = set()
    for row in dataset.select(range(min(count, len(dataset)))):
        encoded = row[column]
        with Image.open(io.BytesIO(encoded["bytes"]) if encoded["bytes"] else encoded["path"]) as picture:
            found.add((picture.height, picture.width))
    return found
