"""One process writes a run folder; the same process may hold it twice."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from modules.core.checks import CheckpointError
from modules.storage import holder_file
from modules.storage.holder_file import HolderFile
from modules.storage.run_lock import is_held, run_lock


def try_to_lock(folder: str) -> int:
    """0 when the folder could be held."""
    try:
        with run_lock(Path(folder)):
            return 0
    except CheckpointError:
        return 3


def test_others_wait_for_the_last_release(parent, tmp_path):
    run, log = tmp_path / "a" / "run", tmp_path / "log"

    def other() -> int:
        return parent.run("tests.storage.test_run_lock:try_to_lock", [str(run)], tmp_path, log)

    assert other() == 0
    with run_lock(run):
        with run_lock(run):
            assert other() == 3
        assert other() == 3
    assert other() == 0


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"file/run cannot be written: Not a directory") as caught:  # noqa: SIM117
        with run_lock(tmp_path / "file" / "run"):
            pass
    assert "\n" not in str(caught.value)


def _without_flock(number: int) -> None:
    """As on a file system whose flock fails with this error."""

    def flock(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.flock = flock


def try_without_flock(folder: str, number: int) -> int:
    _without_flock(number)
    return try_to_lock(folder)


def hold_without_flock(folder: str, number: int) -> None:
    _without_flock(number)
    with run_lock(Path(folder)):
        time.sleep(60)


@pytest.fixture
def holder(tmp_path, monkeypatch) -> Path:
    """The file that names who writes tmp_path; a second is a minute."""
    monkeypatch.setattr(holder_file, "BEAT", 0.1)
    monkeypatch.setattr(holder_file, "STALE", 1.0)
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # put back at the end
    _without_flock(errno.ENOSYS)
    (tmp_path / ".lock").touch()
    return tmp_path / ".lock.holder"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EPERM])
def test_without_flock_one_writes_and_a_killed_one_stops_nobody(parent, tmp_path, number):
    run, log = tmp_path / "run", tmp_path / "log"
    place = "tests.storage.test_run_lock:"
    first = parent.start(f"{place}hold_without_flock", [str(run), number], tmp_path, log)
    until = time.monotonic() + 60
    while not (run / ".lock.holder").exists() or not (run / ".lock.holder").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    began = time.monotonic()
    assert parent.run(f"{place}try_without_flock", [str(run), number], tmp_path, log) == 3
    os.kill(first, signal.SIGKILL)
    assert parent.wait(first) == -9
    assert (run / ".lock.holder").exists()
    assert parent.run(f"{place}try_without_flock", [str(run), number], tmp_path, log) == 0
    assert time.monotonic() - began < 10
    assert [path.name for path in run.iterdir()] == [".lock"]


def test_a_holder_elsewhere_is_dead_when_its_file_stays_untouched(holder, tmp_path):
    """As after kill -9 of a whole node, when the job starts on another."""
    holder.write_text("node7 boot pid:[1]\n12 34")
    assert is_held(tmp_path)  # at once: who polls doesn't wait
    began = time.monotonic()
    with run_lock(tmp_path):
        assert 0.5 < time.monotonic() - began < 20
        assert is_held(tmp_path)
    assert not is_held(tmp_path) and not holder.exists()


def test_a_holder_elsewhere_that_touches_its_file_lives(holder, tmp_path):
    holder.write_text("node7 boot pid:[1]\n12 34")
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.05):
            os.utime(holder)

    (thread := threading.Thread(target=live)).start()
    try:
        with pytest.raises(CheckpointError, match="is being written by another run"), run_lock(tmp_path):
            pass
    finally:
        stop.set()
        thread.join()
    assert holder.read_text().startswith("node7")


def test_a_holder_touches_its_file(holder, tmp_path):
    with run_lock(tmp_path), run_lock(tmp_path):
        os.utime(holder, (0, 0))
        until = time.monotonic() + 20
        while holder.stat().st_mtime == 0:
            assert time.monotonic() < until
            time.sleep(0.02)
    assert not holder.exists()


@pytest.mark.parametrize("process", ["{pid} 1", "{pid}", "999999999 5"])
def test_a_process_that_only_has_the_number_of_the_holder_is_another(holder, tmp_path, process):
    """And one that there isn't, or that isn't told, is dead at once: here, processes can be asked for."""
    with run_lock(tmp_path):
        place = holder.read_text().partition("\n")[0]
    holder.write_text(f"{place}\n{process.format(pid=os.getpid())}")
    began = time.monotonic()
    with run_lock(tmp_path):
        assert time.monotonic() - began < 0.9


def test_a_lock_that_another_took_in_between_is_given_back(holder):
    holder.write_text("the new one's")
    HolderFile(holder)._take_away("the dead one's")
    assert holder.read_text() == "the new one's" and len(list(holder.parent.iterdir())) == 2
