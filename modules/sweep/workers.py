"""Commands run as processes of their own, as many at once as asked, stopped by a signal to this one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.runtime.signals import Signals
from modules.storage.run_lock import is_held

PAUSE = 0.1  # seconds between looks at the processes


@dataclass(frozen=True)
class Job:
    """A command, made when its turn comes, the run folder it writes, and the file its output is added to."""

    command: Callable[[], Sequence[str]]
    folder: Path
    log: Path


def work(
    jobs: Sequence[Job],
    at_once: int,
    signals: Signals,
    started: Callable[[Job], None],
    ended: Callable[[Job, int], None],
    devices: Sequence[str] = (),
) -> None:
    """Run all jobs; after a signal start no more, and hand it on once to those that run.

    A process has a session of its own, so that a terminal's Ctrl-C reaches it once, through here. A job whose
    folder somebody still writes, such as what a killed sweep left running, waits for its end.

    Args:
        jobs: in their order. at_once: processes at a time.
        signals: noted already.
        started, ended: called with each job; the latter with its exit code, negative for a signal.
        devices: names for CUDA_VISIBLE_DEVICES, one for each process in turn; none: as it is.
    """
    waiting = list(jobs)
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    told: set[int] = set()
    try:
        while running or (waiting and not signals.code):
            free = next((slot for slot in range(at_once) if slot not in running), None)
            job = None
            if not signals.code and free is not None:
                job = next((job for job in waiting if not is_held(job.folder)), None)
            if job is not None and free is not None:
                waiting.remove(job)
                started(job)
                running[free] = job, _start(job, _environment(free, at_once, devices))
                told.discard(free)
                continue
            for slot, (job, process) in list(running.items()):
                if signals.code and slot not in told:
                    process.send_signal(signal.SIGTERM)
                    told.add(slot)
                code = process.poll()
                if code is not None:
                    del running[slot]
                    ended(job, code)
            time.sleep(PAUSE)
    finally:  # left by a fault of our own: the processes are still told to save and stop
        for _, process in running.values():
            process.terminate()


def _start(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        return subprocess.Popen(
            job.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _environment(slot: int, at_once: int, devices: Sequence[str]) -> dict[str, str]:
    """This process's, with a share of the cores and, where there are several, one of the devices."""
    environment = dict(os.environ)
    if at_once > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))
        if len(devices) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return environment
