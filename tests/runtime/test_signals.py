"""Signals: the run is saved within a step wherever they find it, and the exit code says what to do next."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
import torch

import launch
from modules.core.output import outlive_listeners
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.methods.networks import Networks
from modules.runtime.runtime import Runtime
from modules.runtime.signals import CODES, SamplingStoppedError, Signals
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.sampling.indexed import sample
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from tests.faulty import FaultySampler, FaultyWarmStart
from tests.tiny import TINY
from tests.training.test_guards import assert_same, trainer_of

torch.set_num_threads(1)

REQUEUED = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGPWR")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored, here and in what is started

ALL = {"SIGINT": 130, "SIGINT+SIGTERM": 75, "SIGTERM+SIGINT": 75, **dict.fromkeys(REQUEUED, 75)}

OTHERS = {
    "can't be caught": {"SIGKILL", "SIGSTOP"},
    "a fault of the program, whose state isn't worth saving": {
        *("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP", "SIGSTKFLT"),
    },
    "asks to leave at once": {"SIGQUIT"},
    "a timer that the program sets itself": {"SIGALRM", "SIGVTALRM", "SIGPROF"},
    "ends nothing by default, or Python ignores it": {
        *("SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH", "SIGPIPE", "SIGXFSZ"),
    },
    "for files that the program asked to hear of": {"SIGIO"},
}


def _steps(folder: Path) -> list[str]:
    return [path.name for path in checkpoints.of_run(folder)]


def test_every_signal_of_the_system_was_thought_of():
    """All but those for a program's own use (real time)."""
    named = {s for s in signal.valid_signals() if isinstance(s, signal.Signals)}
    names = {signal.Signals(s).name for s in named} - {"SIGRTMIN", "SIGRTMAX"}
    known = [*map(signal.Signals, CODES)]
    assert sorted([*(s.name for s in known), *(name for of in OTHERS.values() for name in of)]) == sorted(
        names
    )


@pytest.mark.parametrize("name", ALL)
def test_a_step_is_finished_and_saved(tmp_path, name):
    """The signal comes in step 3: it's saved, and no later one is made."""
    numbers = [getattr(signal, name) for name in ("SIGINT", *REQUEUED)]
    before = [signal.getsignal(number) for number in numbers]
    training = trainer_of(FaultySampler(name, 2)).train(tmp_path)
    assert (training.num_steps_done, training.stop_code) == (3, ALL[name])
    assert _steps(tmp_path) == ["step_00000003"]
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()] == [1, 2, 3]
    assert [signal.getsignal(number) for number in numbers] == before, "left behind"


def test_going_on_after_a_signal_is_as_if_nothing_had_come(tmp_path):
    trainer_of(FaultySampler("SIGTERM", 2)).train(tmp_path)
    trainer_of().train(tmp_path, checkpoints.latest(tmp_path))
    trainer_of().train(tmp_path / "straight")
    ours, theirs = (checkpoints.load(checkpoints.latest(f)) for f in (tmp_path, tmp_path / "straight"))
    assert ours[1] == theirs[1]
    assert_same(ours[0], theirs[0])


def test_in_the_warm_start(tmp_path):
    trainer = trainer_of()
    trainer.method.warm_start = FaultyWarmStart(num_steps=5, call=2, fault="SIGTERM")  # two micro-batches
    training = trainer.train(tmp_path)
    assert (training.num_steps_done, training.stop_code) == (2, 75)
    assert _steps(tmp_path) == ["step_00000002"]
    assert training.numbers()["updates"] == {"energy": 0, "initializer": 2}


def test_sampling_is_given_up_and_the_next_step_saved(tmp_path):
    """The signal comes at the third of six levels, between steps 2 and 3."""
    trainer = trainer_of(sample_every=2)
    trainer.generation = Generation(drawer := FaultySampler("SIGTERM", 0, stream="sample/level 4"))
    training = trainer.train(tmp_path)
    assert (training.num_steps_done, training.stop_code) == (3, 75)
    assert _steps(tmp_path) == ["step_00000003"] and list((tmp_path / "samples").iterdir()) == []
    assert [stream for stream, _ in drawer.seen] == [f"sample/level {t}" for t in (6, 5, 4)]


def test_samples_for_others_are_given_up_too():
    """Evaluation draws by the same function: between batches and levels."""
    runtime = Runtime(trackers=())
    networks = MLPEnergy((2,), width=8, depth=1), MLPInitializer((2,), width=8, depth=1)
    runtime.signals.code = 75
    with pytest.raises(SamplingStoppedError):
        sample(Generation(Langevin(1)), Networks(*networks, CosineSchedule()), Draw.of_seed(0, 4), runtime)


def test_at_the_last_step_the_run_is_done(tmp_path):
    training = trainer_of(FaultySampler("SIGTERM", 5)).train(tmp_path)
    assert training.num_steps_done == 6 and _steps(tmp_path)[-1] == "step_00000006"


def test_a_second_interrupt_leaves_at_once(tmp_path):
    """In a child process: it dies by the signal, in the middle of a step."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        trainer_of(FaultySampler("SIGINT+SIGINT", 2), save_every=2).train(tmp_path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
    assert _steps(tmp_path) == ["step_00000002"]


def test_a_closed_terminal_saves_the_run(tmp_path):
    """The system's own SIGHUP, with a bar and lines that can't be written any more."""
    child, terminal = pty.fork()
    if child == 0:
        try:
            termios.tcsetwinsize(1, (24, 80))  # a bar needs some room
            sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w") for number in (1, 2))
            outlive_listeners()
            training = trainer_of(num_steps=10**6).train(tmp_path)
            print("a line that nobody hears", flush=True)
            os._exit(training.stop_code)
        finally:
            os._exit(1)
    seen, journal, until = b"", tmp_path / "metrics.jsonl", time.monotonic() + 60
    while not (b"step/s" in seen and journal.read_text()) and time.monotonic() < until:
        seen += os.read(terminal, 1000) if select.select([terminal], [], [], 0.05)[0] else b""
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 75
    (name,) = _steps(tmp_path)
    rows = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()]
    assert rows == list(range(1, len(rows) + 1)) and name == f"step_{len(rows):08d}"


def test_a_hangup_that_is_ignored_stays_ignored():
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with (signals := Signals()).noted():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.code == 0
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.code == 75
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_of_the_main_thread_nothing_is_listened_for():
    before, found = signal.getsignal(signal.SIGTERM), []

    def listen() -> None:
        with Signals().noted():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.parametrize(("name", "code"), [("SIGUSR1", 75), ("SIGINT", 130)])
def test_the_command_line_says_how_to_go_on(tmp_path, monkeypatch, capsys, name, code):
    monkeypatch.chdir(tmp_path)
    Path("tiny.gin").write_text(TINY)
    sampler = ["RecoveryLikelihood.sampler=@FaultySampler()", f'FaultySampler.fault="{name}"']
    settings = [*sampler, "FaultySampler.step=1", "Trainer.sample_every=0"]
    component = ["--import", str(Path(__file__).parents[1] / "faulty.py")]
    words = ["--gin", "tiny.gin", *component, *(word for s in settings for word in ("--set", s))]
    assert launch.main([*words, "--output", "run"]) == code
    printed = capsys.readouterr()
    last = printed.err.strip().splitlines()[-1]
    assert last == (
        "stopped by a signal after step 2, which is saved; go on: python launch.py --output run --resume "
        f"--import {component[1]}"
    )
    assert "sample it" not in printed.out
    assert _steps(Path("run")) == ["step_00000002"]
    assert launch.main(["--output", "run", "--resume"]) == 0
    assert _steps(Path("run"))[-1] == "step_00000004"
