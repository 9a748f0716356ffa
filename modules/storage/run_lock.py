"""One writer to a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from modules.core.checks import CheckpointError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder, made if need be; a process that holds it already may do so again.

    The system drops the lock with the process, kill -9 included; the file `.lock` itself stays and means
    nothing.

    Raises:
        CheckpointError: at once, where another process holds it, or the folder cannot be written.
    """
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as fault:
        raise CheckpointError(
            f"{folder} is being written by another run: wait for its end, or --output another folder"
        ) from fault
    except OSError as fault:
        raise CheckpointError(f"{folder} cannot be written: {fault.strerror or fault}") from fault
    try:
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process holds a run folder now; nothing is made where there is none."""
    if not (folder / ".lock").exists():
        return False
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
