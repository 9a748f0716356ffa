"""Paths in a table of pictures start from where the table lies, not from where a program is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def with_absolute_paths(dataset: Dataset, column: str, folder: Path | None) -> Dataset:
    """The column of pictures alone, the paths of those that the table doesn't hold itself made absolute.

    Args:
        column: of structs with bytes and path, of paths, or of bytes.
        folder: of the table; None: it has no paths of files.
    """
    import datasets
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets.table import InMemoryTable

    dataset = dataset.select_columns([column]).with_format(None)
    kind = dataset.data.schema.field(column).type
    is_struct = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
    if folder is None or not (is_struct or pa.types.is_string(kind)):
        return dataset
    with_bytes = is_struct and kind.get_field_index("bytes") >= 0
    if with_bytes and not any(part.field("bytes").null_count for part in dataset.data.column(column).chunks):
        return dataset
    values = dataset.with_format("arrow")[:].column(column)
    paths = pc.struct_field(values, "path") if is_struct else values
    # of bytes that are there the path is but a name
    wanted = pc.invert(pc.starts_with(paths, "/"))
    if with_bytes:
        wanted = pc.and_(wanted, pc.is_null(pc.struct_field(values, "bytes")))
    absolute = pc.binary_join_element_wise(str(folder.absolute()), paths, "/")
    paths = pc.if_else(pc.fill_null(wanted, False), absolute, paths).combine_chunks()
    if is_struct:
        names = [kind.field(i).name for i in range(kind.num_fields)]
        parts = [paths if n == "path" else pc.struct_field(values, n).combine_chunks() for n in names]
        paths = pa.StructArray.from_arrays(parts, names)
    table = InMemoryTable(pa.table({column: paths}))
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=dataset.features))
