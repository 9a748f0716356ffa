"""Processes started together find each other in a store that outlives them: torchrun's, after a restart."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore, register_rendezvous_handler

from modules.core.checks import PeerError

PAUSE = 0.01  # seconds between two looks at who is missing


def init_method() -> str | None:
    """How processes find each other, for init_process_group; None: as torch does by itself.

    torchrun starts its processes again beside one and the same store (of torch 2.13, say), in which addresses
    of the ended ones still lie; one that reads such an address before it is written anew finds nobody there.
    """
    return "restarts://" if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else None


def fresh_part(store: Store, rank: int, num_processes: int, timeout: timedelta) -> Store:
    """A part of the store for the processes that are alive, in which those before them wrote nothing.

    Every other process asks process 0 by a name that nobody had before, so that no answer is an old one;
    process 0 answers until each has taken its part: an old question costs an answer that nobody reads.

    Args:
        timeout: of the store, and as long as process 0 waits.

    Raises:
        PeerError: to process 0: others don't come in time.
    """
    if rank:
        name = secrets.token_hex(8)
        store.set(f"asked/{rank}", name)
        part = store.get(f"answer/{name}").decode()
        store.set(f"taken/{part}/{rank}", "yes")
        return PrefixStore(part, store)
    part, missing = secrets.token_hex(8), set(range(1, num_processes))
    deadline = time.monotonic() + timeout.total_seconds()
    while missing:
        for other in missing:
            if store.check([f"asked/{other}"]):
                store.set(f"answer/{store.get(f'asked/{other}').decode()}", part)
        missing = {other for other in missing if not store.check([f"taken/{part}/{other}"])}
        if missing and time.monotonic() > deadline:
            raise PeerError(
                f"processes {sorted(missing)} did not come within {timeout.total_seconds():g} s: "
                "see what they printed, or raise Runtime.peer_timeout"
            )
        time.sleep(PAUSE if missing else 0)
    return PrefixStore(part, store)


def _meet(url: str, timeout: timedelta) -> Iterator[tuple[Store, int, int]]:
    """What init_process_group asks for: a store, this process's number, and how many there are."""
    names = ("RANK", "WORLD_SIZE", "MASTER_PORT")
    rank, num_processes, port = (int(os.environ[name]) for name in names)
    store = TCPStore(os.environ["MASTER_ADDR"], port, num_processes, is_master=False, timeout=timeout)
    yield fresh_part(store, rank, num_processes, timeout), rank, num_processes


register_rendezvous_handler("restarts", _meet)
