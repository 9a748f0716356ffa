"""One process writes a run folder; the same process may hold it twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.core.checks import CheckpointError
from modules.storage.run_lock import run_lock


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
