"""Kinds of labels of the loader of real images, and attributes as classes."""

from __future__ import annotations

import pytest
import torch
from datasets import ClassLabel, Value

from modules.data import HuggingFaceData
from tests.data.tables import (
    CLASSES,
    SHAPE,
    parquet,
    table,
)

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("values", "feature", "ids", "names"),
    [
        ([2, 0, 1, 1], ClassLabel(names=CLASSES), [2, 0, 1, 1], CLASSES),
        ([2, 0, 1, 1], Value("int32"), [2, 0, 1, 1], ["0", "1", "2"]),
        (["owl", "cat", "cat", "dog"], Value("string"), [2, 0, 0, 1], CLASSES),
        ([True, False, False, True], Value("bool"), [1, 0, 0, 1], ["no", "yes"]),
    ],
    ids=["ClassLabel", "integers", "strings", "booleans"],
)
def test_kinds_of_labels(values, feature, ids, names):
    source = parquet(table(4, kind=(values, feature)))
    data = HuggingFaceData(source, SHAPE, label_column="kind", num_classes=len(names))
    examples = data.open()
    assert examples.rows(torch.arange(4))[1][:, 0].tolist() == ids
    assert examples.class_names == data.class_names == names
    unlabelled = HuggingFaceData(source, SHAPE).open()
    assert unlabelled.rows(torch.arange(4))[1].tolist() == [[-1]] * 4 and unlabelled.class_names == []


def test_attributes_become_classes():
    dataset = table(
        4,
        Smiling=([True, False, False, True], Value("bool")),
        Hats=([-1, 1, -1, -1], Value("int8")),
        Hair=(["grey", "black", "red", "grey"], Value("string")),
        Pet=([2, 0, 0, 1], ClassLabel(names=CLASSES)),
    )
    columns = ["Smiling", "Hats", "Hair", "Pet"]
    data = HuggingFaceData(parquet(dataset), SHAPE, attribute_columns=columns, num_classes=10)
    examples = data.open()
    assert examples.class_names == [
        *["Smiling=no", "Smiling=yes", "Hats=-1", "Hats=1", "Hair=black", "Hair=grey", "Hair=red"],
        *["Pet=cat", "Pet=dog", "Pet=owl"],
    ]
    expected = [[1, 2, 5, 9], [0, 3, 4, 7], [0, 2, 6, 7], [1, 2, 5, 8]]
    assert examples.rows(torch.arange(4))[1].tolist() == expected
