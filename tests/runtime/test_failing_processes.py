"""One of two processes fails: the other learns it, stops or goes on with it, and nothing is half-written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import launch
from modules.storage import checkpoints
from tests.forks import Parent
from tests.pairs import pair
from tests.tiny import TINY
from tests.training.test_guards import assert_same

torch.set_num_threads(1)


@dataclass(frozen=True)
class Ended:
    """The runs' folder, both exit codes, what was printed, and the seconds that 0 lived longer than 1."""

    output: Path
    codes: tuple[int, int]
    printed: tuple[str, str]
    seconds: float


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, parent: Parent) -> Ended:
    output = tmp_path_factory.mktemp("failing")
    (output / "tiny.gin").write_text(TINY)
    with pair(parent, "tests.failing_processes:main", [str(output)], output) as two:
        second = two.wait(1)
        died = time.monotonic()
        first = two.wait(0)
    printed = tuple(log.read_text() for log in two.logs)
    return Ended(output, (first, second), printed, time.monotonic() - died)


def _lines(ended: Ended, rank: int) -> list[str]:
    """What a process printed, without the progress bar."""
    return [line.split("\r")[-1] for line in ended.printed[rank].splitlines() if "step/s" not in line]


def _state(folder: Path) -> dict:
    return checkpoints.load(checkpoints.latest(folder))[1]


def test_both_processes_end_alike(ended):
    output = ended.output
    for rank in (0, 1):
        codes = json.loads((output / f"codes{rank}.json").read_text())
        expected = {"raise": 3, "skip": 0, "rollback": 0, "signal": 75, "sampling": 75, "apart": 2}
        assert codes == expected, ended.printed[rank][-3000:]


def test_a_nan_on_one_process_stops_both_before_their_optimizers(ended):
    output = ended.output
    assert checkpoints.latest(output / "raise").name == "step_00000002"
    for rank, head in ((0, "error: "), (1, "[process 1] error: ")):
        assert [line for line in _lines(ended, rank) if line.startswith(f"{head}training diverged at step 4")]
    (path,) = (output / "raise" / "diagnostics").iterdir()
    rows = json.loads(path.read_text())["rows"]
    # rows 4 to 7 are process 1's, whose first one has the fault
    assert [row["row"] for row in rows] == list(range(8))
    assert [row["row"] for row in rows if row["energy_negative"] == "nan"] == [4]


def test_both_skip_or_go_back_together(ended):
    output = ended.output
    skipped, back = _state(output / "skip"), _state(output / "rollback")
    assert (skipped["step"], skipped["skips"], skipped["updates"]["energy"]) == (6, 1, 5)
    assert (back["step"], back["rollbacks"], back["lr_factor"], back["updates"]["energy"]) == (6, 1, 0.5, 6)
    for name in ("skip", "rollback"):
        tensors, _ = checkpoints.load(checkpoints.latest(output / name))
        assert all(value.isfinite().all() for group in tensors.values() for value in group.values())


def test_a_signal_to_one_process_saves_and_stops_both_after_the_same_step(ended):
    output = ended.output
    assert [path.name for path in checkpoints.of_run(output / "signal")] == [
        f"step_{step:08d}" for step in (2, 3)
    ]
    assert _state(output / "sampling")["step"] == 3
    assert list((output / "sampling" / "samples").iterdir()) == []
    said = [line for line in _lines(ended, 0) if line.startswith("stopped by a signal")]
    assert len(said) == 2 and all("after step 3, which is saved" in line for line in said)
    assert not [line for line in _lines(ended, 1) if line.startswith("stopped by a signal")]


def test_processes_that_would_go_on_from_different_steps_stop(ended):
    for rank, head in ((0, "error: "), (1, "[process 1] error: ")):
        (line,) = [line for line in _lines(ended, rank) if "would go on from" in line]
        assert line.startswith(f"{head}the processes would go on from steps 3, 0: they must all see the same")
    assert not list((ended.output / "new").rglob("step_*"))


def test_when_one_process_is_killed_the_other_ends_soon_with_a_message(ended):
    output = ended.output
    assert ended.codes == (75, -9) and ended.seconds < 30
    last = _lines(ended, 0)[-1]
    assert last.startswith("error: another process of the run died or no longer answers ("), last
    assert "third_party" not in last and len(last) < 300
    assert "Traceback" not in ended.printed[0]
    assert [path.name for path in checkpoints.of_run(output / "kill")] == ["step_00000002"]
    names = {path.name for path in (output / "kill" / "checkpoints").iterdir()}
    assert names == {"step_00000002"}, "half-written"
    tensors, state = checkpoints.load(checkpoints.latest(output / "kill"))
    assert state["step"] == 2
    # what was saved is the first two steps of the run in which only a signal came
    assert_same(tensors, checkpoints.load(checkpoints.path_of(output / "signal", 2))[0])


class Torchrun:
    """A long run of two processes under torchrun, once it trains.

    Args:
        restarts: how often torchrun starts all of them again when one has ended.
    """

    def __init__(self, output: Path, restarts: int = 0) -> None:
        (output / "tiny.gin").write_text(TINY)
        settings = ("NUM_STEPS=1000000", "Trainer.sample_every=0", "Runtime.peer_timeout=20")
        self.run, self.printed = output / "run", output / "printed"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
                *(f"--max_restarts={restarts}",),
                *(
                    launch.__file__,
                    "--gin",
                    str(output / "tiny.gin"),
                    "--output",
                    str(self.run),
                    "--resume",
                    "auto",
                ),
                *(word for setting in settings for word in ("--set", setting)),
            ],
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=self.printed.open("w"),
        )
        until = time.monotonic() + 120
        while not checkpoints.of_run(self.run):
            assert time.monotonic() < until and self.process.poll() is None, self.printed.read_text()
            time.sleep(0.1)
        self.workers = self._workers()

    def _workers(self) -> dict[int, int]:
        """The processes that train, by rank."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ranks = {int(pid): self._rank(int(pid)) for pid in children}
        return {rank: pid for pid, rank in ranks.items() if rank is not None}

    def starts_again(self) -> None:
        """Wait until other processes train."""
        until = time.monotonic() + 120
        while len(found := self._workers()) < 2 or set(found.values()) & set(self.workers.values()):
            assert time.monotonic() < until and self.process.poll() is None, self.printed.read_text()
            time.sleep(0.1)
        self.workers, step = found, checkpoints.step_of(checkpoints.of_run(self.run)[-1])
        while checkpoints.step_of(checkpoints.of_run(self.run)[-1]) <= step:
            assert time.monotonic() < until and self.process.poll() is None, self.printed.read_text()
            time.sleep(0.1)

    @staticmethod
    def _rank(pid: int) -> int | None:
        """None for a process that has just ended."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            return next((int(entry[5:]) for entry in environment if entry.startswith(b"RANK=")), None)
        return None

    def ends(self) -> float:
        """Seconds until it ended."""
        began = time.monotonic()
        try:
            self.process.wait(90)
        finally:
            for pid in (*self.workers.values(), self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return time.monotonic() - began


@pytest.fixture
def torchrun(tmp_path) -> Torchrun:
    return Torchrun(tmp_path)


def _is_whole(run: Path) -> int:
    """The newest checkpoint's step; all are whole, and nothing else lies beside them."""
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == [path.name for path in checkpoints.of_run(run)]
    for path in checkpoints.of_run(run):
        checkpoints.load(path)
    return _state(run)["step"]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_under_torchrun_a_killed_process_ends_the_run(torchrun, rank):
    os.kill(torchrun.workers[rank], signal.SIGKILL)
    assert torchrun.ends() < 60
    assert torchrun.process.returncode == 1
    assert "SIGKILL" in torchrun.printed.read_text()
    if rank == 1:  # the main process may be killed while it writes: its folder is hidden, and not complete
        _is_whole(torchrun.run)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_under_torchrun_a_signal_saves_the_run(torchrun, name):
    """The launcher hands it on; its own exit code is 1 whatever its processes' are."""
    os.kill(torchrun.process.pid, getattr(signal, name))
    assert torchrun.ends() < 60
    printed = torchrun.printed.read_text()
    assert torchrun.process.returncode == 1
    step = _is_whole(torchrun.run)
    assert f"stopped by a signal after step {step:,}, which is saved" in printed


@pytest.mark.slow
def test_a_process_that_hangs_is_waited_for_as_long_as_was_asked(torchrun):
    """Stopped, it neither answers nor dies: after peer_timeout = 20 seconds the other one leaves."""
    os.kill(torchrun.workers[1], signal.SIGSTOP)
    seconds = torchrun.ends()
    assert 10 < seconds < 80
    assert "another process of the run died or no longer answers" in torchrun.printed.read_text()
    _is_whole(torchrun.run)


@pytest.mark.slow
def test_under_torchrun_a_killed_process_is_started_again_and_goes_on(tmp_path):
    """By one command, --resume auto, which began the run too."""
    torchrun = Torchrun(tmp_path, restarts=1)
    before = json.loads((torchrun.run / "metrics.jsonl").read_text().splitlines()[0])
    step = checkpoints.step_of(checkpoints.of_run(torchrun.run)[-1])
    os.kill(torchrun.workers[1], signal.SIGKILL)
    torchrun.starts_again()
    rows = [json.loads(line) for line in (torchrun.run / "metrics.jsonl").read_text().splitlines()]
    assert rows[0] == before and rows[-1]["step"] > step  # it goes on, and doesn't begin again
    os.kill(torchrun.process.pid, signal.SIGTERM)
    assert torchrun.ends() < 60
    _is_whole(torchrun.run)
