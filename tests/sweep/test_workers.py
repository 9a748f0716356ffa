"""Processes: as many at once as asked, each told once to stop, none on a folder that is still written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modules.runtime.signals import Signals
from modules.sweep.workers import Job, work

ROOT = Path(__file__).resolve().parents[2]


def _jobs(folder: Path, scripts: list[str]) -> list[Job]:
    """Shell scripts; $0 is the folder that all of them share."""
    return [
        Job(lambda script=script: ["sh", "-c", script, str(folder)], folder / str(n), folder / f"{n}.log")
        for n, script in enumerate(scripts)
    ]


def _work(jobs: list[Job], at_once: int, signals: Signals | None = None, devices=()) -> dict[str, int]:
    """The exit code of each job that was started."""
    codes: dict[str, int] = {}
    work(
        jobs,
        at_once,
        signals or Signals(),
        lambda job: None,
        lambda job, c: codes.update({job.log.stem: c}),
        devices,
    )
    return codes


@pytest.mark.parametrize("at_once", [1, 3])
def test_so_many_run_at_once_and_each_failure_is_told(tmp_path, at_once):
    # each waits for as many as there may be, the last ones not any more; and a moment for one too many
    there = 'ls "$0" | grep -c "^at"'
    count = (
        'touch "$0/at.$$"; for i in $(seq 1000); do '
        f'[ -e "$0/full" ] || [ $({there}) -ge {at_once} ] && break; sleep 0.02; done; '
        f'touch "$0/full"; sleep 0.1; {there} >> "$0/counts"; rm "$0/at.$$"; '
    )
    codes = _work(_jobs(tmp_path, [count + f"exit {n}" for n in range(6)]), at_once)
    assert codes == {str(n): n for n in range(6)}
    assert max(map(int, (tmp_path / "counts").read_text().split())) == at_once


def test_output_is_added_to_the_log(tmp_path):
    (tmp_path / "0.log").write_text("before\n")
    assert _work(_jobs(tmp_path, ["echo out; echo err >&2"]), 1) == {"0": 0}
    assert (tmp_path / "0.log").read_text() == "before\nout\nerr\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_is_handed_on_once_and_no_more_are_started(tmp_path, number, code):
    """The processes take their time to stop, and are waited for."""
    script = "trap 'echo told; sleep 0.5; exit 75' TERM; touch \"$0/up.$$\"; while :; do sleep 0.05; done"
    signals = Signals()

    def later() -> None:
        while len(list(tmp_path.glob("up.*"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=later)
    with signals.noted():
        thread.start()
        codes = _work(_jobs(tmp_path, [script] * 4), 2, signals)
    thread.join()
    assert codes == {"0": 75, "1": 75} and signals.code == code
    assert [(tmp_path / f"{n}.log").read_text() for n in range(2)] == ["told\n", "told\n"]


def test_a_fault_of_ours_leaves_no_process_behind(tmp_path):
    def broken(job: Job, code: int) -> None:
        raise ZeroDivisionError

    listening = 'trap \'touch "$0/told"; exit\' TERM; touch "$0/ready"; while :; do sleep 0.05; done'
    jobs = _jobs(tmp_path, ['while [ ! -e "$0/ready" ]; do sleep 0.02; done', listening])
    with pytest.raises(ZeroDivisionError):
        work(jobs, 2, Signals(), lambda job: None, broken)
    deadline = time.monotonic() + 20
    while not (tmp_path / "told").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "told").exists()


def test_a_folder_that_is_still_written_is_waited_for(tmp_path):
    """Others go first; the command is made when its turn has come."""
    holder = (
        "import sys, time, pathlib; from modules.storage.run_lock import run_lock\n"
        "with run_lock(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    jobs = _jobs(tmp_path, ["echo 0 >> $0/order", 'echo 1 >> "$0/order"'])
    words = [sys.executable, "-c", holder, str(jobs[0].folder)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        timer = threading.Timer(1.0, other.stdin.close)
        timer.start()
        began = time.monotonic()
        assert _work(jobs, 1) == {"0": 0, "1": 0}
        assert time.monotonic() - began >= 0.9
        timer.join()
    assert (tmp_path / "order").read_text() == "1\n0\n"


def test_processes_at_once_share_cores_and_devices(tmp_path, monkeypatch):
    there = '$(ls "$0" | grep -c "^up")'  # all that may run at once are waited for
    wait = f'touch "$0/up.$$"; for i in $(seq 3000); do [ {there} -ge {{}} ] && break; sleep 0.01; done; '
    script = wait + 'echo "$OMP_NUM_THREADS $CUDA_VISIBLE_DEVICES"'
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "all")
    for threads, at_once, devices, expected in (
        (None, 2, ["4", "GPU-x"], {"4 4", "4 GPU-x"}),
        ("3", 2, ["4"], {"3 all"}),
        (None, 1, ["4", "5"], {" all"}),
    ):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if threads:
            monkeypatch.setenv("OMP_NUM_THREADS", threads)
        folder = tmp_path / f"{at_once} {len(devices)}"
        _work(_jobs(folder, [script.format(at_once)] * 2), at_once, devices=devices)
        assert {(folder / f"{n}.log").read_text().rstrip("\n") for n in range(2)} == expected
