"""How good generated digits get, against steps and seconds of training: the judge's figures for gin files.

    python -m benchmarks.digits_quality --gin gin/cdrl_digits.gin --seeds 0 1 2
    python -m benchmarks.digits_quality --gin gin/cdrl_digits_cond.gin --guidance 0.5

At --every steps and at the end draws --num digits with the averaged weights and judges them
(benchmarks/judge_digits.py). Seconds count training alone. Beside the chain stand the proposals alone: the
same walk with K = 0. FID is in the shipped classifier's features, against the training digits; that of one
draw of 1,000 misses that of another by 0.2 and more, hence --draws. One JSON line a judgement goes to --json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import command, progress
from benchmarks.judge_digits import Judge, real_digits
from modules.core.checks import check_integer
from modules.data.quantization import to_bytes
from modules.features.digits import DigitsClassifier
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.metrics.fid import frechet_distance

FIGURES = (
    "fid",
    "recognised",
    "as_asked",
    "coverage_ratio",
    "recall_ratio",
    "total_variation",
    "nearest_ratio",
)


def main(words: list[str] | None = None) -> int:
    parser = progress.parser(__doc__.splitlines()[0], num=1000)
    parser.add_argument("--guidance", type=float, help="w of classifier-free guidance; labels 0..9 in turn")
    parser.add_argument("--draws", type=int, default=1, help="of --num digits each; figures are their means")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    check_integer("--draws", arguments.draws, low=1)
    judge, distance = Judge.fit(), digits_distance()
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
            for walk, drawn in progress.walks(
                trainer, training, guidance, arguments.num, labels, arguments.draws
            ):
                each = [{"fid": distance(d.x), **judge(d.x, labels)} for d in drawn]
                figures = {name: sum(one[name] for one in each) / len(each) for name in each[0]}
                progress.record(arguments, FIGURES, figures, {**place, "walk": walk})


def digits_distance() -> Callable[[Tensor], float]:
    """The Fréchet distance of digits (n, 1, 8, 8) to the training digits, in the classifier's features."""
    features = DigitsClassifier().open((1, 8, 8), torch.device("cpu"))

    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        found = features.extract(to_bytes(x)).features
        return found.double().mean(0), found.double().T.cov()

    real = moments(real_digits("train")[0])
    return lambda x: frechet_distance(*moments(x), *real)


if __name__ == "__main__":
    sys.exit(main())
