"""Runs in which one of two processes fails: a NaN, a signal, a kill. Both are forked by a test."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import launch

FAULTY = str(Path(__file__).with_name("faulty.py"))


def faulty(output: Path, name: str, fault: str, step: int, *settings: str, resume: str | None = None) -> int:
    """The exit code of a run of OUTPUT/tiny.gin in OUTPUT/name; process 1 fails at a step (0, 1, ...)."""
    bindings = [
        *("Trainer.sample_every=0", "NUM_STEPS=6", "RecoveryLikelihood.sampler=@FaultySampler()"),
        *(f'FaultySampler.fault="{fault}"', f"FaultySampler.step={step}", "FaultySampler.rank=1", *settings),
    ]
    words = ["--gin", str(output / "tiny.gin"), "--import", FAULTY]
    for binding in bindings:
        words += ["--set", binding]
    words += ["--resume", resume] if resume else []
    return launch.main([*words, "--output", str(output / name)])


def main(folder: str) -> int:
    """The exit code of the last run, which process 1 doesn't live to see; stdout goes nowhere."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return _runs(Path(folder))


def _runs(output: Path) -> int:
    codes = {
        "raise": faulty(output, "raise", "nan", 3),
        "skip": faulty(output, "skip", "inf", 3, "Trainer.guard=@SkipStep()"),
        "rollback": faulty(output, "rollback", "explode", 3, "Trainer.guard=@Rollback()"),
        "signal": faulty(output, "signal", "SIGTERM", 2),
        # told in the middle of sampling, at the end of step 2
        "sampling": faulty(
            *(output, "sampling", "SIGUSR1", 0, 'FaultySampler.stream="sample/level 4"'),
            *("Trainer.sample_every=2", "Generation.sampler=@FaultySampler()"),
        ),
    }
    # as on nodes that don't share the folder: one process finds a checkpoint, the other none
    codes["apart"] = faulty(
        output, "signal" if os.environ["RANK"] == "0" else "new", "SIGTERM", 2, resume="auto"
    )
    (output / f"codes{os.environ['RANK']}.json").write_text(json.dumps(codes))
    return faulty(output, "kill", "SIGKILL", 3)
