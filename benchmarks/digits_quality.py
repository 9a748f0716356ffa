"""How good generated digits get, against steps and seconds of training: the judge's figures for gin files.

    python -m benchmarks.digits_quality --gin gin/cdrl_digits.gin --seeds 0 1 2
    python -m benchmarks.digits_quality --gin gin/cdrl_digits_cond.gin --guidance 0.5

At --every steps and at the end draws --num digits with the averaged weights and judges them
(benchmarks/judge_digits.py). Seconds count training alone. Beside the chain stands the initializer alone:
the same walk with K = 0. One JSON line a judgement goes to --json.
"""

from __future__ import annotations

import argparse
import sys

import torch

from benchmarks import command, progress
from benchmarks.judge_digits import Judge
from modules.guidance.classifier_free import ClassifierFreeGuidance

FIGURES = ("recognised", "as_asked", "coverage_ratio", "recall_ratio", "total_variation", "nearest_ratio")


def main(words: list[str] | None = None) -> int:
    parser = progress.parser(__doc__.splitlines()[0], num=1000)
    parser.add_argument("--guidance", type=float, help="w of classifier-free guidance; labels 0..9 in turn")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    judge = Judge.fit()
    print(f"real held-out digits: recognised {judge.recognised_real:.3f}")
    for seed in arguments.seeds:
        trainer = progress.build(arguments, seed)
        num_classes = trainer.method.energy.num_classes
        labels = torch.arange(arguments.num) % num_classes if num_classes else None
        guidance = trainer.generation.guidance
        if arguments.guidance is not None:
            guidance = ClassifierFreeGuidance(arguments.guidance)
        progress.print_head(seed, FIGURES)
        for training, seconds in progress.train(trainer, arguments.every):
            place = {"seed": seed, "step": training.num_steps_done, "seconds": round(seconds, 1)}
            for walk, drawn in progress.walks(trainer, training, guidance, arguments.num, labels):
                progress.record(arguments, FIGURES, judge(drawn.x, labels), {**place, "walk": walk})


if __name__ == "__main__":
    sys.exit(main())
