"""Everything that speed on a GPU is asked about, unattended, as one Markdown page.

    python -m benchmarks.gpu --output gpu.md            # under 25 minutes on one card
    python -m benchmarks.gpu --output cpu.md --tiny     # the same commands, small, anywhere

Each part is a command in a process of its own with a share of the time; one that fails or runs out of it
is told so in the page, and the next one starts. The page is written after every part.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Part:
    """A heading, the commands below it (after `python`), and the seconds that they may take together."""

    title: str
    commands: tuple[str, ...]
    seconds: float


def parts(folder: Path, tiny: bool, num_devices: int) -> list[Part]:
    """What is run, the most wanted first. Runs are made below `folder`."""
    case, big, small = ("points", 4, 2) if tiny else ("paper", 256, 32)
    speed = f"-m benchmarks.speed --cases {case} --rounds {1 if tiny else 3}"
    short = " --num-steps 1" if tiny else ""
    score = "-m benchmarks.score_step --sizes " + ("digits --batch-size 2 --rounds 1" if tiny else "paper")
    found = [
        Part(
            "Paper size in bf16, beside the plain loop in float32",
            tuple(f"{speed} --precision bf16 --batch-size {batch}{short}" for batch in (big, small)),
            400,
        ),
        Part(
            "The same in float32",
            tuple(f"{speed} --batch-size {batch}{short}" for batch in (big, small)),
            300,
        ),
    ]
    if not tiny:
        graphs = f"{speed} --precision bf16 --batch-size {small} --compile reduce-overhead"
        found.append(Part("CUDA graphs", (graphs,), 240))
    found += [
        Part("A score step in the energy", (score, f"{score} --precision bf16"), 120),
        *(
            _recipe(name, folder, tiny)
            for name in (("one_digits",) if tiny else ("one_cifar10", "cdrl_cifar10"))
        ),
    ]
    if num_devices > 1:
        run = _train("cdrl_digits", folder / "two", 20)
        found.append(Part("Two processes", (f"-m torch.distributed.run --nproc_per_node 2 {run}",), 90))
    return found


def _recipe(name: str, folder: Path, tiny: bool) -> Part:
    """A recipe trained for a few steps, then sampled from; its time a step and images a second are told."""
    run = folder / name
    sample = f"launch.py --task generate --run {run} --num {4 if tiny else 2048}"
    return Part(f"gin/{name}.gin", (_train(name, run, 2 if tiny else 200), sample), 180)


def _train(name: str, run: Path, steps: int) -> str:
    # a few steps are for the time they take: rates that fall to the end of a run would refuse so short a one
    bindings = [f"Trainer.num_steps={steps}", f"Trainer.save_every={steps}", f"Trainer.sample_every={steps}"]
    given = " ".join(f"--set {shlex.quote(binding)}" for binding in bindings)
    return f"launch.py --gin gin/{name}.gin {given} --output {run}"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the Markdown file")
    parser.add_argument("--minutes", type=float, default=25.0, help="in all (default 25)")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try it")
    arguments = parser.parse_args(words)
    page, ends = Path(arguments.output), time.monotonic() + 60 * arguments.minutes
    text, failed = [_head()], 0
    with tempfile.TemporaryDirectory() as folder:
        for part in parts(Path(folder), arguments.tiny, torch.cuda.device_count()):
            text.append(f"## {part.title}\n")
            part_ends = min(ends, time.monotonic() + part.seconds)
            for command in part.commands:
                told, whole = run(command, part_ends - time.monotonic())
                failed += not whole
                text.append(f"`python {command.replace(folder, 'runs')}`\n\n```\n{told}\n```\n")
                page.write_text("\n".join(text), encoding="utf-8")
    return int(failed > 0)


def _head() -> str:
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else f"no GPU: {platform.machine()}"
    return f"# Speed on {card}\n\ntorch {torch.__version__}, {time.strftime('%Y-%m-%d')}\n"


def run(command: str, seconds: float) -> tuple[str, bool]:
    """What `python command` says, progress bars left out, and whether it ended well in time."""
    if seconds <= 0:
        return "not run: no time was left", False
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *shlex.split(command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[1],
        start_new_session=True,  # its own processes end with it
    )
    try:
        said, _ = process.communicate(timeout=seconds)
        end = "" if process.returncode == 0 else f"\nended with exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        end = f"\nstopped: its {seconds:.0f} s were over"
    lines = [line.split("\r")[-1] for line in said.decode(errors="replace").split("\n")]  # bars as they ended
    shown = "\n".join([line for line in lines if line.strip()][-30:])
    return f"{shown}{end}\n{time.monotonic() - began:.0f} s", not end


if __name__ == "__main__":
    sys.exit(main())
