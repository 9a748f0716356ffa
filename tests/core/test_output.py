"""What can't be said ends nothing: a reader that went away, a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from modules.core.output import outlive_listeners
outlive_listeners()
print("begun", flush=True)
sys.stdin.readline()
for stream in (sys.stdout, sys.stderr):
    print("x" * 100_000, file=stream, flush=True)
print("no newline, left to the end", end="")
sys.exit(75)
"""


def _run(output: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM]
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=output, stderr=output)


def test_a_reader_that_went_away_changes_no_exit_code():
    reading, writing = os.pipe()
    process = _run(writing)
    os.close(writing)
    assert os.read(reading, 100) == b"begun\n"
    os.close(reading)  # as `| tee log` does when it is killed
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 75


def test_a_full_disk_changes_no_exit_code():
    full = os.open("/dev/full", os.O_WRONLY)
    process = _run(full)
    process.communicate(b"\n", timeout=60)
    os.close(full)
    assert process.returncode == 75


def test_what_can_be_said_is_said(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        _run(log.fileno()).communicate(b"\n", timeout=60)
    text = (tmp_path / "log").read_text()
    assert text.startswith("begun\n") and text.endswith("no newline, left to the end")
    assert text.count("x") == 200_000
