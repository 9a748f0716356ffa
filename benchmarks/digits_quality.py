"""How good generated digits get, against steps and seconds of training: the judge's figures for gin files.

    python -m benchmarks.digits_quality --gin gin/cdrl_digits.gin --seeds 0 1 2
    python -m benchmarks.digits_quality --gin gin/cdrl_digits_cond.gin --guidance 0.5

Trains as `launch.py` would (no run folder), and at --every steps and at the end draws --num digits with the
averaged weights and judges them (benchmarks/judge_digits.py). Seconds count training alone. Beside the
chain stands the initializer alone: the same walk with K = 0. One JSON line a judgement goes to --json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.judge_digits import Judge
from modules import config
from modules.data.stream import TrainingStream
from modules.generation import Generation
from modules.guidance import ClassifierFreeGuidance
from modules.samplers.langevin import Langevin
from modules.sampling import sample
from modules.trainer import Trainer
from modules.training import Training

FIGURES = ("recognised", "as_asked", "coverage_ratio", "recall_ratio", "total_variation", "nearest_ratio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--gin", action="append", required=True)
    add("--set", action="append", default=[], dest="overrides")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--every", type=int, default=0, help="steps between judgements (0: at the end only)")
    add("--num", type=int, default=1000, help="digits judged")
    add("--guidance", type=float, help="w of classifier-free guidance; labels 0..9 in turn")
    add("--json", type=Path, help="append one line a judgement here")
    arguments = parser.parse_args()
    judge = Judge.fit()
    print(f"real held-out digits: recognised {judge.recognised_real:.3f}")
    for seed in arguments.seeds:
        run(arguments, seed, judge)


def run(arguments: argparse.Namespace, seed: int, judge: Judge) -> None:
    """Train one seed and print its judgements."""
    built = config.load(arguments.gin, [*arguments.overrides, f"SEED={seed}"])
    torch.manual_seed(seed)
    trainer: Trainer = built.build("Trainer")
    training = Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, seed)
    stream = TrainingStream(trainer.data.open(), trainer.batch_size, seed)
    rows, seconds = trainer.micro_rows(), 0.0
    print(f"seed {seed}: {'steps':>6} {'seconds':>8}  {'walk':<10}" + "".join(f"{f:>16}" for f in FIGURES))
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
    judge: Judge,
    seed: int,
    seconds: float,
) -> None:
    """Judge the averaged weights: the configured chain, and the proposals alone."""
    energy, initializer = trainer.method.models(training.ready_averages())
    guidance, labels = trainer.generation.guidance, None
    if energy.num_classes:
        labels = torch.arange(arguments.num) % energy.num_classes
        if arguments.guidance is not None:
            guidance = ClassifierFreeGuidance(arguments.guidance)
    walks = {"chain": Generation(trainer.generation.sampler, guidance, trainer.generation.denoise_factor)}
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
        figures = judge(drawn.x, labels)
        print(
            f"        {training.num_steps_done:>6} {seconds:>8.0f}  {name:<10}"
            + "".join(f"{figures[f]:>16.3f}" if f in figures else f"{'':>16}" for f in FIGURES),
            flush=True,
        )
        if arguments.json:
            row = {"gin": arguments.gin, "set": arguments.overrides, "seed": seed, "walk": name}
            row |= {"step": training.num_steps_done, "seconds": round(seconds, 1), **figures}
            with arguments.json.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
