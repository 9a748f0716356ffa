"""Two processes that work together, forked, beside a store that outlives them, as torchrun keeps one.

with pair(parent, "tests.two_processes:main", [str(output)], output) as two:
    two.wait(1)            # its exit code; what it printed is in two.logs[1]
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

from tests.forks import Parent


class Pair:
    """The two, by rank."""

    def __init__(self, parent: Parent, pids: Sequence[int], logs: Sequence[Path]) -> None:
        self.logs, self._parent, self._pids = logs, parent, pids
        self.left = set(pids)

    def wait(self, rank: int) -> int:
        """A process's exit code when it has ended, negative for a signal."""
        code = self._parent.wait(self._pids[rank])
        self.left.discard(self._pids[rank])
        return code


@contextlib.contextmanager
def pair(
    parent: Parent, function: str, arguments: Sequence[Any], folder: Path, **environment: str
) -> Iterator[Pair]:
    """Both call "module:function" with the same arguments; what hasn't ended at the end is killed."""
    # the system gives the store a port, which is nobody else's from then on
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    environment |= {"ACCELERATE_USE_CPU": "true", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    logs = [folder / f"printed{rank}" for rank in (0, 1)]
    pids = [
        parent.start(function, arguments, folder, log, {**environment, "RANK": rank, "LOCAL_RANK": rank})
        for log, rank in zip(logs, "01", strict=True)
    ]
    two = Pair(parent, pids, logs)
    try:
        yield two
    finally:
        for pid in two.left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
