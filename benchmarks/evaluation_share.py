"""What share of a run goes into evaluation during training, in CPU seconds.

    python -m benchmarks.evaluation_share --gin gin/cdrl_digits.gin --set ENERGY_START=0

Times steps and evaluations as the gin file has them, interleaved, and gives the share at its
Evaluation.every. Steps of a warm start of the initializer alone are cheaper: leave ENERGY_START as it is to
time these.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch

from benchmarks import command
from modules import config
from modules.core.checks import ConfigurationError, check_integer
from modules.training.state import Training
from modules.training.trainer import Trainer


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gin", action="append", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--steps", type=int, default=20, help="between two evaluations (default 20)")
    parser.add_argument("--evaluations", type=int, default=3, help="how many (default 3)")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    check_integer("--steps", arguments.steps, low=1)
    check_integer("--evaluations", arguments.evaluations, low=1)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    trainer: Trainer = config.load(arguments.gin, arguments.overrides).build("Trainer")
    if trainer.evaluation is None:
        raise ConfigurationError("the gin files configure no Trainer.evaluation: there is nothing to time")
    examples, runtime = trainer.data.open(), trainer.runtime
    training = Training(trainer.method, trainer.optimizers, trainer.ema, runtime, trainer.seed)
    stream = trainer.stream(examples)
    num_classes = trainer.method.energy.num_classes
    evaluator = trainer.evaluation.open(trainer.data, runtime, num_classes, examples)
    rows, steps, evaluations = trainer.micro_rows(), [], []
    total = (1 + arguments.evaluations) * arguments.steps  # the first ones warm up
    for number, batches in zip(range(1, total + 1), stream.iterate(0, rows), strict=False):
        began = time.process_time()
        training.step(batches, rows)
        steps.append(time.process_time() - began)
        if number > arguments.steps and number % arguments.steps == 0:
            began = time.process_time()
            networks = trainer.method.models(training.ready_averages())
            evaluator(trainer.generation, networks, 0, {"step": number})
            evaluations.append(time.process_time() - began)
    step = statistics.median(steps[arguments.steps :])
    evaluation, every = statistics.median(evaluations), trainer.evaluation.every
    share = evaluation / (every * step + evaluation)
    print(f"step {step:.3f} s, evaluation of {trainer.evaluation.num} samples {evaluation:.2f} s")
    print(f"evaluation every {every} steps: {share:.1%} of the run")


if __name__ == "__main__":
    sys.exit(main())
