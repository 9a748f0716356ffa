"""Hashes of what values depend on, for keys of what is kept: code, and tensors' numbers."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor


def bytes_of(values: Tensor) -> memoryview:
    """A tensor's numbers as they lie in memory, of any dtype."""
    if not values.numel():
        return memoryview(b"")
    return values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and values in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        total.update(bytes_of(tensors[name]))
    return total.hexdigest()


def is_the_projects(kind: type) -> bool:
    """Whether a class comes with this package; others' code may change under the same name."""
    return kind.__module__.partition(".")[0] == "modules"


def code_of(kinds: Iterable[type]) -> str:
    """A hash of the files in which classes are written; of those without one, their names."""
    total = hashlib.sha256()
    named = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in kinds}
    for name in sorted(named):
        total.update(name.encode())
        try:
            total.update(Path(inspect.getfile(named[name])).read_bytes())
        except (OSError, TypeError):
            continue
    return total.hexdigest()[:16]
