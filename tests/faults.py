"""Faults on demand, for what writes through `os`: errors, half-done writes, death at the n-th operation.

with faults.at(3):             # the third write, fsync, rename, ... raises OSError(ENOSPC)
    checkpoints.save(...)
with faults.counting() as points:
    checkpoints.save(...)      # points is the list of operations, in their order
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

OPERATIONS = ("mkdir", "open", "write", "fsync", "rename", "replace", "unlink", "rmdir")


def full_disk(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """A write takes half of what it is given, as on a disk that fills up; then there is no space."""
    if name == "write":
        call(arguments[0], arguments[1][: len(arguments[1]) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken_disk(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The operation fails and does nothing."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def death(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """kill -9, in the middle of a write."""
    if name == "write":
        call(arguments[0], arguments[1][: len(arguments[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


Fault = Callable[[str, Callable[..., Any], tuple[Any, ...]], None]


@contextmanager
def at(number: int, fault: Fault = full_disk, lasting: bool = False) -> Iterator[list[str]]:
    """The operation `number` = 1, 2, ... on files and folders meets a fault; if lasting, all later ones too.

    Gives the names of the operations that were asked for so far. Reading and closing are not counted.
    """
    originals = {name: getattr(os, name) for name in OPERATIONS}
    seen: list[str] = []

    def intercepted(name: str) -> Callable[..., Any]:
        call = originals[name]

        def operation(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):
                return call(*arguments, **options)
            seen.append(name)
            if len(seen) == number or (lasting and len(seen) > number):
                fault(name, call, arguments)
            return call(*arguments, **options)

        return operation

    for name in OPERATIONS:
        setattr(os, name, intercepted(name))
    try:
        yield seen
    finally:
        for name, call in originals.items():
            setattr(os, name, call)


@contextmanager
def counting() -> Iterator[list[str]]:
    """No fault: the operations alone."""
    with at(0) as seen:
        yield seen
