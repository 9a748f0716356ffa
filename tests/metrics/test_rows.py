"""Rows in a temporary file are those in memory, leave nothing behind, and fail in one line."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from modules.core.checks import DataError
from modules.metrics import rows as rows_module
from modules.metrics.kid import KID
from modules.metrics.prdc import PRDC
from modules.metrics.rows import Rows

torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 7, 50])
def test_a_file_holds_what_memory_holds(folder, batch, dtype):
    x, places = _normal(50, 3, 2, dtype=dtype), torch.randperm(50, generator=torch.Generator().manual_seed(1))
    here, there = Rows(memory_mapped=False), Rows(memory_mapped=True)
    for part in places.split(batch):
        for store in (here, there):
            store.add(x[part], part)
    assert there.in_file and not here.in_file and len(list(folder.iterdir())) == 0
    assert torch.equal(here.read(), x) and torch.equal(there.read(), x)
    there.add(x[:2], torch.tensor([50, 51]))  # after reading, too
    assert torch.equal(there.read(), torch.cat([x, x[:2]])) and there.count == 52


def test_what_is_read_is_the_readers_own(folder):
    """To change it changes nothing that is read later; samples of no size, and none of them, are kept too."""
    x, store = _normal(6, 2), Rows(memory_mapped=True)
    store.add(x, torch.arange(6))
    store.read().zero_()
    assert torch.equal(store.read(), x)
    for empty in (torch.zeros(0, 2), torch.zeros(3, 0)):
        store = Rows(memory_mapped=True)
        store.add(empty, torch.arange(len(empty)))
        assert store.read().shape == empty.shape and store.count == len(empty)


def test_what_outgrows_memory_moves_to_a_file(folder, monkeypatch):
    monkeypatch.setattr(rows_module, "LIMIT", 10 * 4 * 8)
    x, store = _normal(30, 8), Rows()
    for part in torch.arange(30).split(5):
        store.add(x[part], part)
        assert store.in_file == (int(part[-1]) >= 10)
    assert torch.equal(store.read(), x)


def test_the_file_goes_with_the_store_and_with_a_fault(folder):
    def held() -> int:
        return sum("(deleted)" in os.readlink(f) for f in Path("/proc/self/fd").iterdir() if f.is_symlink())

    before = held()
    store = Rows(memory_mapped=True)
    store.add(_normal(9, 4), torch.arange(9))
    assert held() == before + 1
    x = store.read()
    del store
    assert held() <= before + 1 and torch.equal(x, _normal(9, 4))  # what was read stays readable
    del x
    metric = KID(memory_mapped=True)
    with pytest.raises(DataError, match="at least 2 references"):
        metric.compute(predictions=_normal(5, 3))
    assert held() == before and list(folder.iterdir()) == []


def test_a_full_disk_is_one_line(folder):
    """By a limit on the size of files, which a write runs into as into the end of a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = Rows(memory_mapped=True)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        with pytest.raises(DataError) as caught:
            for part in torch.arange(4000).split(100):
                store.add(_normal(100, 4), part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"temporary files below {folder} (File too large): set TMPDIR" in str(caught.value)
    assert "\n" not in str(caught.value) and list(folder.iterdir()) == []


def test_no_place_for_files_is_one_line(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(DataError, match=r"below /nowhere \(No such file or directory\): set TMPDIR"):
        Rows(memory_mapped=True).add(_normal(2, 3), torch.arange(2))


@pytest.mark.parametrize("make", [lambda how: KID(3, 20, memory_mapped=how), lambda how: PRDC(3, how)])
def test_metrics_of_files_give_the_same_values(folder, make):
    x, y = _normal(60, 5), _normal(70, 5, seed=1)
    mapped, plain = make(True), make(False)
    for metric in (mapped, plain):
        for part in torch.arange(60).flip(0).split(11):
            metric.add_batch(predictions=x[part], indices=part)
        metric.add_batch(references=y)
    assert mapped.predictions.in_file and mapped.references.in_file
    assert mapped.compute() == plain.compute()


def test_a_map_of_a_cached_file_is_a_store_and_never_written_to(tmp_path):
    x = _normal(6, 2)
    np.save(tmp_path / "rows.npy", x.numpy())
    store = Rows()
    store.load({"rows": np.load(tmp_path / "rows.npy", mmap_mode="c", allow_pickle=False)})
    assert torch.equal(store.read(), x) and store.count == 6
    store.read().zero_()
    assert np.array_equal(np.load(tmp_path / "rows.npy"), x.numpy())
