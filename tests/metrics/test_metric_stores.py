"""A metric doesn't depend on batches or their order, writes no file, and is as fast as its mathematics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import evaluate
import numpy as np
import pytest
import torch

from modules.metrics import rows as rows_module
from modules.metrics.fid import FID, frechet_distance
from modules.metrics.kid import KID
from modules.metrics.rows import Rows
from modules.metrics.sliced_wasserstein import SlicedWasserstein
from modules.metrics.stores import Moments, Store, Sums
from modules.runtime.runtime import Runtime
from tests import two_processes

torch.set_num_threads(1)


class Alone(Runtime):
    """One process of one."""

    rank, num_processes = 0, 1


@pytest.mark.parametrize("batch", [1, 7, 100])
@pytest.mark.parametrize("order", ["as they come", "backwards"])
def test_a_store_is_the_same_for_all_batches_and_orders(batch, order):
    x = 50 + torch.randn(100, 6, generator=torch.Generator().manual_seed(0)).double()
    indices = torch.arange(100)
    if order == "backwards":
        indices = indices.flip(0)
    moments, rows, sums = Moments(), Rows(), Sums()
    for part in indices.split(batch):
        for store in (moments, rows, sums):
            store.add(x[part], part)
    assert moments.count == rows.count == sums.count == 100
    torch.testing.assert_close(moments.mean, x.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.covariance, torch.cov(x.T), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(sums.total, x.sum(0), rtol=1e-12, atol=0)
    assert torch.equal(rows.read(), x)
    for store in (moments, rows, sums):
        again = type(store)()
        again.load(store.state())
        assert again.count == 100
        assert all(np.array_equal(v, again.state()[k]) for k, v in store.state().items())


def test_rows_keep_a_copy_in_float32():
    x = torch.ones(2, 3, dtype=torch.float16)
    rows = Rows()
    rows.add(x, torch.arange(2))
    x.zero_()
    assert torch.equal(rows.read(), torch.ones(2, 3)) and rows.read().dtype == torch.float32


def test_metrics_are_evaluates_own_kind_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", tmp_path / "cache")
    values = two_processes.measured(Alone())
    assert len(values) > 20 and not (tmp_path / "cache").exists()
    fid = FID()
    assert isinstance(fid, evaluate.Metric) and isinstance(fid, FID) and not isinstance(fid, KID)
    assert fid.name == "fid" and "Fréchet" in fid.description
    fid.add(prediction=np.zeros(2, np.float32), reference=np.ones(2, np.float32))
    fid.add(prediction=np.ones(2, np.float32), reference=2 * np.ones(2, np.float32))
    assert fid.compute() == {"fid": pytest.approx(2.0)}


def test_evaluate_combines_our_metrics():
    """A module of evaluate's own beside ours would need the network; two of ours show the interface."""
    both = evaluate.combine([FID(), SlicedWasserstein()])
    x, truth = torch.zeros(4, 2), torch.ones(4, 2)
    both.add_batch(predictions=x, references=truth)
    found = both.compute()
    assert found["fid"] == pytest.approx(2.0) and found["sliced_wasserstein"] == pytest.approx(1.0, abs=0.5)


def test_storing_costs_little_beside_the_mathematics():
    """10,000 x 512 numbers on either side: storing the moments, against the bare products."""
    x = torch.randn(10_000, 512)
    began = time.perf_counter()
    wide = x.double()
    for _ in range(2):
        wide.T @ wide
    bare = time.perf_counter() - began
    fid = FID()
    began = time.perf_counter()
    for part in x.split(500):
        fid.add_batch(predictions=part, references=part)
    assert time.perf_counter() - began < 3 * bare + 0.2
    assert fid.compute()["fid"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_ten_thousand_inception_features():
    """10,000 x 2,048 numbers on either side, end to end: seconds beside those of the bare matrix work."""
    x = torch.randn(10_000, 2048)
    began = time.perf_counter()
    covariance = torch.cov(x.double().T)
    frechet_distance(x[0], covariance, x[0], covariance)
    bare = time.perf_counter() - began
    fid, rows, indices = FID(), Rows(), torch.arange(10_000)
    began = time.perf_counter()
    for part in indices.split(256):
        rows.add(x[part], part)
    rows.read()
    stored = time.perf_counter() - began
    began = time.perf_counter()
    for part in indices.split(256):
        fid.add_batch(predictions=x[part], references=x[part])
    fid.compute()
    taken = time.perf_counter() - began
    print(f"bare, one covariance: {bare:.1f} s; FID of both sides: {taken:.1f} s; rows: {stored:.2f} s")
    assert taken < 3 * bare and stored < 2


class Among(Runtime):
    """One of several threads that stand for processes: what each gives, all are told."""

    rank, num_processes, device = 0, 1, torch.device("cpu")

    def __init__(self, rank: int, given: list, barrier: threading.Barrier) -> None:
        self.rank, self.num_processes, self.given, self.barrier = rank, len(given), given, barrier

    def _all(self, mine) -> list:
        self.given[self.rank] = mine
        self.barrier.wait()
        found = list(self.given)
        self.barrier.wait()
        return found

    def gather_objects(self, items):
        return [item for items in self._all(items) for item in items]

    def gather(self, rows):
        return torch.cat(self._all(rows))

    def sum(self, values):
        return torch.stack(self._all(values)).sum(0)


def _joined(make: Callable[[], Store], x: torch.Tensor, parts: list[list[int]]) -> list[Store]:
    """A store of each process, which was given its part of x, after they were combined."""
    given, barrier = [None] * len(parts), threading.Barrier(len(parts), timeout=30)

    def process(rank: int) -> Store:
        try:
            store, mine = make(), torch.tensor(parts[rank], dtype=torch.int64)
            for part in mine.split(2) if len(mine) else ():
                store.add(x[part], part)
            store.combine(Among(rank, given, barrier))
        except BaseException:
            barrier.abort()
            raise
        return store

    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(process, range(len(parts))))


STORES = {
    "moments": Moments,
    "sums": Sums,
    "rows": lambda: Rows(memory_mapped=False),
    "rows of a file": lambda: Rows(memory_mapped=True),
}


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize(
    "parts", [[[6, 1, 0], [], [3, 2, 5, 4, 7, 8]], [[], [2, 0, 1]], [[8, 7, 6, 5, 4, 3, 2, 1, 0]], [[], []]]
)
def test_processes_hold_what_one_would_that_had_seen_all(name, parts, monkeypatch):
    """Of other numbers of samples, of none, and some at a time: the same state on each, and on with it."""
    monkeypatch.setattr(rows_module, "BLOCK", 2 * 3 * 8)  # two rows at once
    x = 5 + torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = torch.tensor(sorted(place for part in parts for place in part), dtype=torch.int64)
    for store in _joined(STORES[name], x, parts):
        assert store.count == len(seen)
        for places in (seen, torch.cat([seen, torch.tensor([9])])):
            whole = STORES[name]()
            whole.add(x[places], places)
            if len(places) > len(seen):
                store.add(x[9:], torch.tensor([9]))
            assert store.count == len(places)
            for key, values in whole.state().items() if len(places) else ():
                np.testing.assert_allclose(store.state()[key], values, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("parts", [[[], [2, 0]], [[1], []]])
def test_sums_of_numbers_are_joined_with_those_of_a_process_that_saw_none(parts):
    x = torch.tensor([1.0, 2.0, 4.0]).double()
    seen = [place for part in parts for place in part]
    for store in _joined(Sums, x, parts):
        assert store.count == len(seen) and torch.equal(store.total, x[seen].sum())


def test_places_beyond_what_float32_counts_keep_their_order():
    rows, last = Rows(), 2**24
    rows.add(torch.tensor([[2.0], [1.0], [0.0]]), torch.tensor([last + 1, last, last - 1]))
    assert rows.read().flatten().tolist() == [0, 1, 2]
