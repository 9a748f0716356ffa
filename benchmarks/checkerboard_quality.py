"""How good checkerboard samples get, against steps and seconds of training: figures for gin files.

    python -m benchmarks.checkerboard_quality --gin gin/cdrl_checkerboard.gin --seeds 0 1 2

Trains as `launch.py` would (no run folder), and at --every steps and at the end draws --num points with the
averaged weights and judges them (benchmarks/judge_points.py). Seconds count training alone. Beside the chain
stands the initializer alone: the same walk with K = 0 and no denoising, which needs the energy. One JSON line
a judgement goes to --json, and a scatter plot of the chain's points to --pictures.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.judge_points import PointsJudge
from modules import config
from modules.checks import ConfigurationError
from modules.data.points import Checkerboard
from modules.data.stream import TrainingStream
from modules.generation import Generation
from modules.report.pictures import save_samples
from modules.samplers.langevin import Langevin
from modules.sampling import sample
from modules.trainer import Trainer
from modules.training import Training

FIGURES = ("inside", "total_variation", "sliced_wasserstein", "floor", "floor_sd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--gin", action="append", required=True)
    add("--set", action="append", default=[], dest="overrides")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--every", type=int, default=0, help="steps between judgements (0: at the end only)")
    add("--num", type=int, default=5000, help="points judged")
    add("--json", type=Path, help="append one line a judgement here")
    add("--pictures", type=Path, help="a folder for scatter plots")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        run(arguments, seed)


def run(arguments: argparse.Namespace, seed: int) -> None:
    """Train one seed and print its judgements."""
    built = config.load(arguments.gin, [*arguments.overrides, f"SEED={seed}"])
    torch.manual_seed(seed)
    trainer: Trainer = built.build("Trainer")
    if not isinstance(trainer.data, Checkerboard):
        raise ConfigurationError("Trainer.data must be a Checkerboard: include data/checkerboard.gin")
    judge = PointsJudge(trainer.data.scale)
    training = Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, seed)
    stream = TrainingStream(trainer.data.open(), trainer.batch_size, seed)
    rows, seconds = trainer.micro_rows(), 0.0
    print(f"seed {seed}: {'steps':>6} {'seconds':>8}  {'walk':<10}" + "".join(f"{f:>20}" for f in FIGURES))
    began = time.monotonic()
    for batches in stream.iterate(0, rows):
        training.step(batches, rows)
        done = training.num_steps_done
        last = done == trainer.num_steps
        if last or (arguments.every and done % arguments.every == 0):
            seconds += time.monotonic() - began
            report(arguments, trainer, training, judge, seed, seconds)
            began = time.monotonic()
        if last:
            return


def report(
    arguments: argparse.Namespace,
    trainer: Trainer,
    training: Training,
    judge: PointsJudge,
    seed: int,
    seconds: float,
) -> None:
    """Judge the averaged weights: the configured chain, and the proposals alone."""
    energy, initializer = trainer.method.models(training.ready_averages())
    labels = torch.arange(arguments.num) % energy.num_classes if energy.num_classes else None
    guidance = trainer.generation.guidance
    walks = {"chain": trainer.generation}
    if "initializer" in training.networks:
        walks["proposals"] = Generation(Langevin(num_steps=0), guidance, denoise_factor=0.0)
    for name, generation in walks.items():
        drawn = sample(
            generation,
            energy,
            initializer,
            trainer.method.schedule,
            arguments.num,
            labels,
            seed,
            trainer.runtime,
        )
        figures, step = judge(drawn.x), training.num_steps_done
        print(
            f"        {step:>6} {seconds:>8.0f}  {name:<10}"
            + "".join(f"{figures[f]:>20.4f}" for f in FIGURES),
            flush=True,
        )
        if arguments.json:
            row = {"gin": arguments.gin, "set": arguments.overrides, "seed": seed, "walk": name}
            row |= {"step": step, "seconds": round(seconds, 1), **figures}
            with arguments.json.open("a") as file:
                file.write(json.dumps(row) + "\n")
        if arguments.pictures:
            arguments.pictures.mkdir(parents=True, exist_ok=True)
            path = arguments.pictures / f"{name}_seed{seed}_step{step}.png"
            save_samples(drawn.x, drawn.levels, path)


if __name__ == "__main__":
    main()
