"""Signals: the run is saved within a step wherever they find it, and the exit code says what to do next."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

import launch
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.runtime.runtime import Runtime
from modules.runtime.signals import SamplingStoppedError, Signals
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

ALL = {"SIGTERM": 75, "SIGUSR1": 75, "SIGINT": 130, "SIGINT+SIGTERM": 75, "SIGTERM+SIGINT": 75}


def _steps(folder: Path) -> list[str]:
    return [path.name for path in checkpoints.of_run(folder)]


@pytest.mark.parametrize("name", ALL)
def test_a_step_is_finished_and_saved(tmp_path, name):
    """The signal comes in step 3: it's saved, and no later one is made."""
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
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
        sample(Generation(Langevin(1)), *networks, CosineSchedule(), Draw.of_seed(0, 4), runtime)


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
