"""Hashes of tensors: each thing that makes them others changes them."""

from __future__ import annotations

import pytest
import torch

from modules.core.fingerprints import bytes_of, digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_bytes_are_those_in_memory(dtype: torch.dtype) -> None:
    values = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    assert bytes(bytes_of(values)) == bytes(values.flatten().view(torch.uint8).tolist())
    assert bytes(bytes_of(values.T)) == bytes(bytes_of(values.T.contiguous()))
    assert len(bytes_of(values[:0])) == 0 and len(bytes_of(values[0, 0])) == values.element_size()


def test_a_digest_is_of_names_dtypes_shapes_and_values() -> None:
    values = torch.arange(4, dtype=torch.float32)
    others = {
        "a name": {"b": values},
        "a shape": {"a": values.view(2, 2)},
        "a dtype": {"a": values.view(torch.int32)},
        "a value": {"a": values + torch.tensor([0.0, 0.0, 0.0, 1e-6])},
        "one more": {"a": values, "b": values},
    }
    found = {name: digest(tensors) for name, tensors in others.items()} | {"it": digest({"a": values})}
    assert len(set(found.values())) == len(found), found
    assert digest({"b": values, "a": values}) == found["one more"]
