"""Processes that are started again beside one store find each other, and no trace of those before them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import Store, TCPStore

from modules.core.checks import PeerError
from modules.runtime.restarts import fresh_part

NUM = 3


@pytest.fixture
def server() -> Iterator[TCPStore]:
    """As torchrun's, which its processes come and go beside."""
    yield TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def _part(server: TCPStore, rank: int, seconds: float = 60) -> Store:
    """What one process gets, through a connection of its own."""
    timeout = timedelta(seconds=seconds)
    store = TCPStore("127.0.0.1", server.port, is_master=False, timeout=timeout)
    return fresh_part(store, rank, NUM, timeout)


def _met(server: TCPStore, *first: int) -> list[Store]:
    """The parts of as many processes, those of some ranks being there before the others start."""
    with ThreadPoolExecutor(NUM) as pool:
        begun = {rank: pool.submit(_part, server, rank) for rank in first}
        if 0 in first and server.num_keys() > 1:  # it answers whoever asked before
            name = server.get("asked/1").decode()
            server.wait([f"answer/{name}"], timedelta(seconds=60))
        for rank in set(range(NUM)) - set(first):
            begun[rank] = pool.submit(_part, server, rank)
        return [begun[rank].result(60) for rank in range(NUM)]


@pytest.mark.parametrize("first", [(0,), (1, 2), (2, 0)])
def test_one_part_for_all_that_are_alive_and_another_after_each_start(server, first):
    for attempt in range(3):
        parts = _met(server, *first)
        for part in parts:
            assert not part.check(["0"])  # an address, say, of a process that has ended
        parts[0].set("0", f"of {attempt}")
        assert [part.get("0").decode() for part in parts] == [f"of {attempt}"] * NUM


def test_a_process_that_ended_while_it_asked_is_not_taken_for_the_one_after_it(server):
    server.set("asked/1", "ended")
    server.set("asked/2", "ended too")
    parts = _met(server, 0)
    parts[1].set("0", "here")
    assert [part.get("0").decode() for part in parts] == ["here"] * NUM


def test_who_does_not_come_is_named(server):
    with pytest.raises(PeerError, match=r"^processes \[1, 2\] did not come within 0\.1 s: .*peer_timeout$"):
        _part(server, 0, seconds=0.1)
