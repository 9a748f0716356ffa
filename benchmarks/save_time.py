"""How much of a run goes into saving: seconds of steps and of saves, interleaved in one process.

    python -m benchmarks.save_time --gin gin/cdrl_digits.gin --steps 100

Prints the median and the worst save, its share of the run at a save every --save-every steps, and what share
drawing curves.png adds, which happens as often.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import command
from modules import config
from modules.core.checks import check_integer
from modules.storage import checkpoints
from modules.training.diary import Diary
from modules.training.state import Training
from modules.training.trainer import Trainer


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gin", action="append", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--steps", type=int, default=100, help="steps measured (default 100)")
    parser.add_argument("--save-every", type=int, default=500, help="of the run in question (default 500)")
    parser.add_argument("--folder", type=Path, help="where to save (default: the system's temporary folder)")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    check_integer("--steps", arguments.steps, low=5)  # of which one saves
    check_integer("--save-every", arguments.save_every, low=1)
    torch.manual_seed(0)
    trainer: Trainer = config.load(arguments.gin, arguments.overrides).build("Trainer")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        seconds = measure(trainer, arguments.steps, Path(folder))
        size = sum(f.stat().st_size for f in checkpoints.latest(Path(folder)).iterdir())
    step = statistics.median(seconds["step"])
    print(f"step {step * 1e3:.1f} ms, checkpoint {size / 1e6:.2f} MB")
    for name in ("save", "curves"):
        for kind, value in (("median", statistics.median(seconds[name])), ("worst", max(seconds[name]))):
            share = value / (arguments.save_every * step + value)
            print(
                f"{name:6} {kind:6} {value * 1e3:8.1f} ms  {share:7.3%} of a run every {arguments.save_every}"
            )


def measure(trainer: Trainer, num_steps: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of each step, and every 5 steps of a save and of drawing the curves so far."""
    examples = trainer.data.open()
    training = Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, trainer.seed)
    stream = trainer.stream(examples)
    diary, rows = Diary(folder, training, trainer.num_steps, trainer.batch_size), trainer.micro_rows()
    seconds: dict[str, list[float]] = {"step": [], "save": [], "curves": []}
    try:
        for number, batches in zip(range(5 + num_steps), stream.iterate(0, rows), strict=False):
            began = time.perf_counter()
            figures, outputs = training.step(batches, rows)
            seconds["step"].append(time.perf_counter() - began)
            diary.watch(figures, outputs)
            diary.log()
            if number % 5 == 4:
                for name, act in (
                    ("save", lambda: trainer.save(folder, training, examples)),
                    ("curves", lambda: diary.draw_curves(last=True)),
                ):
                    began = time.perf_counter()
                    act()
                    seconds[name].append(time.perf_counter() - began)
    finally:
        diary.close()
    return {name: values[1:] if name != "step" else values[5:] for name, values in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
