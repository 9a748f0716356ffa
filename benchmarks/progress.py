"""What the quality benchmarks share: train a gin file, stop to judge, print and keep the figures."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from modules import config
from modules.guidance.base import Guidance
from modules.initializers.own import OwnInitializer
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation, Sampled
from modules.sampling.indexed import sample
from modules.training.state import Training
from modules.training.trainer import Trainer

APART = 1_000_003  # between the seeds of one run's draws


def parser(description: str, num: int) -> argparse.ArgumentParser:
    """The options that every quality benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--gin", action="append", required=True)
    made.add_argument("--set", action="append", default=[], dest="overrides")
    made.add_argument("--seeds", type=int, nargs="+", default=[0])
    made.add_argument("--every", type=int, default=0, help="steps between judgements (0: at the end only)")
    made.add_argument("--num", type=int, default=num, help=f"samples judged (default {num})")
    made.add_argument("--json", type=Path, help="append one line a judgement here")
    return made


def build(arguments: argparse.Namespace, seed: int) -> Trainer:
    """The Trainer of the gin files, its networks drawn from the seed."""
    built = config.load(arguments.gin, [*arguments.overrides, f"SEED={seed}"])
    torch.manual_seed(seed)
    trainer: Trainer = built.build("Trainer")
    return trainer


def train(trainer: Trainer, every: int) -> Iterator[tuple[Training, float]]:
    """Train to the end, as `launch.py` would but without a run folder; stop every `every` steps and there.

    Yields:
        the state, and the seconds of training so far, without what is done between.
    """
    training = Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, trainer.seed)
    stream = trainer.stream(trainer.data.open())
    rows, seconds, began = trainer.micro_rows(), 0.0, time.monotonic()
    for batches in stream.iterate(0, rows):
        training.step(batches, rows)
        last = training.num_steps_done == trainer.num_steps
        if last or (every and training.num_steps_done % every == 0):
            seconds += time.monotonic() - began
            yield training, seconds
            began = time.monotonic()
        if last:
            return


def walks(
    trainer: Trainer,
    training: Training,
    guidance: Guidance,
    num: int,
    labels: Tensor | None,
    draws: int = 1,
) -> Iterator[tuple[str, list[Sampled]]]:
    """Samples of the averaged weights, `draws` times: the configured walk, and the proposals' alone (K = 0).

    The proposals of an initializer network end without the denoising step, which is the energy's.
    """
    networks = trainer.method.models(training.ready_averages())
    initializer = networks.initializer
    configured = trainer.generation
    made = {"chain": Generation(configured.sampler, guidance, configured.denoise_factor)}
    if "initializer" in training.networks or isinstance(initializer, OwnInitializer):
        factor = configured.denoise_factor if isinstance(initializer, OwnInitializer) else 0.0
        made["proposals"] = Generation(Langevin(num_steps=0), guidance, denoise_factor=factor)
    drawn = [Draw.of_seed(trainer.seed + k * APART, num, labels) for k in range(draws)]
    for name, generation in made.items():
        yield name, [sample(generation, networks, draw, trainer.runtime) for draw in drawn]


def print_head(seed: int, names: Sequence[str]) -> None:
    """The table's first line."""
    print(f"seed {seed}: {'steps':>6} {'seconds':>8}  {'walk':<10}" + "".join(f"{n:>20}" for n in names))


def record(
    arguments: argparse.Namespace,
    names: Sequence[str],
    figures: Mapping[str, float],
    place: Mapping[str, float | str],
) -> None:
    """Print the named figures in a line of the table, and append all of them to --json.

    Args:
        place: seed, walk, step and seconds.
    """
    shown = "".join(f"{figures[n]:>20.4f}" if n in figures else f"{'':>20}" for n in names)
    print(f"        {place['step']:>6} {place['seconds']:>8.0f}  {place['walk']:<10}{shown}", flush=True)
    if arguments.json:
        row = {"gin": arguments.gin, "set": arguments.overrides, **place, **figures}
        with arguments.json.open("a") as file:
            file.write(json.dumps(row) + "\n")
