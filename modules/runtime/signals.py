"""Signals that ask a run to stop: noted at once, obeyed where the run can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REQUEUE, INTERRUPTED = 75, 130
"""Exit codes: EX_TEMPFAIL, for a scheduler to start the job again; and a shell's code of Ctrl-C."""

_REQUEUED = (
    "SIGTERM",  # schedulers, containers, a shutdown
    *("SIGUSR1", "SIGUSR2"),  # schedulers, before the time is up
    "SIGXCPU",  # the soft limit of processor time
    "SIGHUP",  # a terminal or a connection was closed
    "SIGPWR",  # the power fails; not on every system
)

CODES = {signal.SIGINT: INTERRUPTED} | {
    getattr(signal, name): REQUEUE for name in _REQUEUED if hasattr(signal, name)
}


class SamplingStoppedError(Exception):
    """A signal came while samples were drawn: they are given up, so that the run is saved soon."""


class Signals:
    """What this process was told; `code` is the exit code asked for, 0 while nothing came."""

    def __init__(self) -> None:
        self.code = 0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the signals of CODES inside instead of dying; a second SIGINT kills.

        A SIGHUP that is ignored, as nohup has it, stays so.
        """
        self.code = 0
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may listen
            return
        numbers = set(CODES)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            numbers.remove(signal.SIGHUP)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # a scheduler's signal outranks Ctrl-C, which launchers send to all of a group's processes too
        if self.code != REQUEUE:
            self.code = CODES[signal.Signals(number)]
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
