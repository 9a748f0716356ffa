"""What keeps the samples themselves: in memory, or mapped into it from a temporary file."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.metrics.stores import Store, other_width
from modules.runtime.runtime import Runtime

LIMIT = 2**30  # bytes of a store beyond which it moves to a file
BLOCK = 2**26  # bytes moved at once


class Rows(Store):
    """Samples on the CPU in float32 (float64 stays), in the order of their indices.

    The file has no name, so that it goes with the process however that ends; it lies where TMPDIR says.

    Args:
        memory_mapped: whether rows lie in a file, where they may be more than memory holds; None: as soon as
            they are more than LIMIT bytes.
    """

    def __init__(self, memory_mapped: bool | None = None) -> None:
        self.memory_mapped = memory_mapped
        self._parts: list[Tensor] = []
        self._indices: list[Tensor] = []
        self._file: _File | None = None

    def add(self, x: Tensor, indices: Tensor) -> None:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        if self.kind is None:
            self._parts.append(torch.empty(0, *x.shape[1:], dtype=dtype))
        elif self.kind[0] != tuple(x.shape[1:]):
            raise other_width(self._parts[0].shape[1:].numel(), x.shape[1:].numel())
        # a copy, so that whoever gave x may use its memory again
        x = torch.empty(x.shape, dtype=self._parts[0].dtype).copy_(x)
        self._indices.append(torch.empty(len(x), dtype=torch.int64).copy_(indices))
        self.count += len(x)
        size = self.count * self._parts[0].element_size() * x.shape[1:].numel()
        if self._file is None and (size > LIMIT if self.memory_mapped is None else self.memory_mapped):
            self._file = _File()
            for part in self._parts:
                self._file.append(part)
            self._parts = [self._parts[0][:0].clone()]
        if self._file is not None:
            self._file.append(x)
        else:
            self._parts.append(x)

    @property
    def kind(self) -> tuple[tuple[int, ...], torch.dtype] | None:
        """Shape and dtype of a row, where there is one."""
        return (tuple(self._parts[0].shape[1:]), self._parts[0].dtype) if self._parts else None

    @property
    def in_file(self) -> bool:
        """Whether they lie in a file."""
        return self._file is not None

    def combine(self, runtime: Runtime) -> None:
        if runtime.num_processes == 1:
            return
        known = [kind for kind in runtime.gather_objects([self.kind]) if kind is not None]
        if not known:
            return
        shape, dtype = known[0]
        own = self.read() if self.count else torch.zeros(0, *shape, dtype=dtype)
        indices = self._indices[0] if self.count else torch.zeros(0).long()
        step = max(1, BLOCK // (max(1, own.shape[1:].numel()) * own.element_size()))
        joined = Rows(self.memory_mapped)
        for first in range(0, max(runtime.gather_objects([len(own)])), step):
            part = slice(first, first + step)
            joined.add(runtime.gather(own[part]), runtime.gather(indices[part]))
        self._parts, self._indices, self._file = joined._parts, joined._indices, joined._file
        self.count = joined.count

    def read(self) -> Tensor:
        """The samples (n, ...); those of a file are read from it where they are used."""
        if not self._parts:
            return torch.zeros(0)
        shape, dtype = self._parts[0].shape[1:], self._parts[0].dtype
        indices = torch.cat(self._indices)
        order = indices.argsort(stable=True)
        in_order = torch.equal(order, torch.arange(len(order)))
        if self._file is not None:
            rows = self._file.map(len(order), shape, dtype)
            if not in_order:
                sorted_file = _File()
                step = max(1, BLOCK // (max(1, shape.numel()) * rows.element_size()))
                for part in order.split(step):
                    sorted_file.append(rows[part])
                self._file, rows = sorted_file, sorted_file.map(len(order), shape, dtype)
            self._indices = [indices[order]]
            return rows
        if len(self._parts) > 1 or not in_order:
            rows, place = torch.empty(len(order), *shape, dtype=dtype), order.argsort()
            self._parts.reverse()
            while self._parts:  # each part is let go once it's copied
                part = self._parts.pop()
                rows[place[: len(part)]] = part
                place = place[len(part) :]
            self._parts, self._indices = [rows], [indices[order]]
        return self._parts[0]

    def state(self) -> dict[str, np.ndarray]:
        return {"rows": self.read().numpy()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        rows = torch.from_numpy(state["rows"])
        self._parts, self._indices, self.count = [rows], [torch.arange(len(rows))], len(rows)
        self._file = None


class _File:
    """A temporary file without a name that grows by tensors' bytes."""

    def __init__(self) -> None:
        self.folder = os.environ.get("TMPDIR", "/tmp")
        try:
            self.folder = tempfile.gettempdir()
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        except OSError as fault:
            raise self._full(fault) from fault
        weakref.finalize(self, self._file.close)

    def append(self, x: Tensor) -> None:
        left = x.contiguous().view(-1).numpy().data.cast("B") if x.numel() else memoryview(b"")
        try:
            # written, not mapped: a full disk is then an error and not a signal that kills
            while left:
                left = left[os.write(self._file.fileno(), left) :]
        except OSError as fault:
            raise self._full(fault) from fault

    def map(self, count: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """All of it as rows (count, *shape), a map private to this process."""
        if not count * shape.numel():
            return torch.zeros(count, *shape, dtype=dtype)
        kind = np.float64 if dtype == torch.float64 else np.float32
        return torch.from_numpy(np.memmap(self._file, kind, mode="c", shape=(count, *shape)))

    def _full(self, fault: OSError) -> DataError:
        return DataError(
            f"the features don't fit into temporary files below {self.folder} ({fault.strerror}): "
            "set TMPDIR to a folder with more room"
        )
