"""A lock for file systems without flock: a file that names its holder, who touches it as long as it lives.

On the holder's own machine a look at its process tells whether it lives. From elsewhere, as after a job was
moved to another node, its file does: one that wasn't touched for STALE seconds is nobody's. Times are the
file system's own, so that clocks of machines needn't agree.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path

BEAT, STALE = 5.0, 60.0  # seconds


class HolderFile:
    """The lock of a path; held by a process from `acquire` to `release`, or to its end, whatever ends it."""

    def __init__(self, path: Path) -> None:
        self.path, self._stop = path, threading.Event()
        self._beating: threading.Thread | None = None

    def acquire(self, patient: bool) -> bool:
        """Whether it could be had; OSError where the file can't be written.

        Args:
            patient: watch a holder elsewhere, until its file is touched or STALE is over.
        """
        while True:
            try:
                handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                found = _text(self.path)
                if found is not None and self._lives(found, patient):
                    return False
                if found is not None:
                    self._take_away(found)
                continue
            with os.fdopen(handle, "w") as file:
                file.write(_own_text())
            self._beating = threading.Thread(target=self._beat, daemon=True)
            self._beating.start()
            return True

    def release(self) -> None:
        """Let others have it."""
        self._stop.set()
        if self._beating is not None:
            self._beating.join()
        if _text(self.path) == _own_text():
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            if _text(self.path) != _own_text():
                return  # taken by another, who waited for a sign of life in vain
            os.utime(self.path)

    def _lives(self, found: str, patient: bool) -> bool:
        """Whether the holder that a file names lives."""
        place, _, process = found.partition("\n")
        if place and place == _place():
            number, _, start = process.partition(" ")
            return bool(start) and _start_of(number) == start
        first = touched = self._touched()
        while touched == first and touched is not None:
            if self._now() - touched > STALE:
                return False
            if not patient:
                return True
            time.sleep(BEAT / 5)
            touched = self._touched()
        return touched is not None

    def _take_away(self, found: str) -> None:
        """Remove the file of a holder that is dead; what another has put there since is put back."""
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return  # another one was faster
        if _text(aside) == found:
            aside.unlink()
        else:
            os.rename(aside, self.path)

    def _touched(self) -> float | None:
        """When the file was touched last; None: it's gone. Network file systems look anew at an opening."""
        try:
            with self.path.open() as file:
                return os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None

    def _now(self) -> float:
        """The file system's time."""
        probe = self.path.with_name(f"{self.path.name}.{os.getpid()}.now")
        try:
            probe.write_text("now")
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _own_text() -> str:
    return f"{_place()}\n{os.getpid()} {_start_of(str(os.getpid()))}"


def _place() -> str:
    """Where process numbers mean the same: a machine since its start, and a container in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: nothing is known of processes, files alone tell
        return ""


def _start_of(number: str) -> str:
    """When a process was started, which tells it from a later one of its number; none where it has ended."""
    try:
        state, *fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
