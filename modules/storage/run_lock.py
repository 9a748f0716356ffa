"""One writer to a run folder."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modules.core.checks import CheckpointError
from modules.storage.holder_file import HolderFile

_log = logging.getLogger(__name__)
_held: dict[tuple[int, Path], int] = {}  # process and folder -> how often it is held


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder, made if need be; a process that holds it already may do so again.

    The lock is the system's (flock on `.lock`), which drops it with the process, kill -9 included; the file
    itself stays and means nothing. Where the file system has no such locks, a file names the holder.

    Raises:
        CheckpointError: at once, where another process holds it, or the folder cannot be written.
    """
    release: Callable[[], None] | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key = os.getpid(), folder.resolve()
        if key not in _held:
            release = _acquire(folder, patient=True)
    except BlockingIOError as fault:
        raise CheckpointError(
            f"{folder} is being written by another run: wait for its end, or --output another folder"
        ) from fault
    except OSError as fault:
        raise CheckpointError(f"{folder} cannot be written: {fault.strerror or fault}") from fault
    _held[key] = _held.get(key, 0) + 1
    try:
        yield
    finally:
        _held[key] -= 1
        if not _held[key]:
            del _held[key]
        if release is not None:
            release()


def is_held(folder: Path) -> bool:
    """Whether a process holds a run folder now; nothing is made where there is none."""
    if not (folder / ".lock").exists():
        return False
    try:
        release = _acquire(folder, patient=False)
    except OSError:
        return True
    release()
    return False


def _acquire(folder: Path, patient: bool) -> Callable[[], None]:
    """Take the lock; what gives it back. BlockingIOError: another has it; OSError: it can't be written."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    named = HolderFile(folder / ".lock.holder")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError as fault:  # ENOSYS, ENOLCK, EOPNOTSUPP, ...: Lustre, NFS and FUSE, as they are mounted
        os.close(handle)
        if patient:
            _log.warning(
                "%s: no locks on this file system (%s): a file names the run", folder, fault.strerror
            )
        if not named.acquire(patient):
            raise BlockingIOError from fault
        return named.release
    return lambda: os.close(handle)
