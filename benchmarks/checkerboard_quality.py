"""How good checkerboard samples get, against steps and seconds of training: figures for gin files.

    python -m benchmarks.checkerboard_quality --gin gin/cdrl_checkerboard.gin --seeds 0 1 2

At --every steps and at the end draws --num points with the averaged weights and judges them
(benchmarks/judge_points.py). Seconds count training alone. Beside the chain stands the initializer alone:
the same walk with K = 0 and no denoising, which needs the energy. One JSON line a judgement goes to --json,
and scatter plots to --pictures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks import command, progress
from benchmarks.judge_points import PointsJudge
from modules.core.checks import ConfigurationError
from modules.data.points import Checkerboard
from modules.report.pictures import save_samples

FIGURES = ("inside", "total_variation", "sliced_wasserstein", "floor", "floor_sd")


def main(words: list[str] | None = None) -> int:
    parser = progress.parser(__doc__.splitlines()[0], num=5000)
    parser.add_argument("--pictures", type=Path, help="a folder for scatter plots")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    for seed in arguments.seeds:
        trainer = progress.build(arguments, seed)
        if not isinstance(trainer.data, Checkerboard):
            raise ConfigurationError("Trainer.data must be a Checkerboard: include data/checkerboard.gin")
        judge = PointsJudge(trainer.data.scale)
        num_classes = trainer.method.energy.num_classes
        labels = torch.arange(arguments.num) % num_classes if num_classes else None
        progress.print_head(seed, FIGURES)
        for training, seconds in progress.train(trainer, arguments.every):
            step = training.num_steps_done
            place = {"seed": seed, "step": step, "seconds": round(seconds, 1)}
            guidance = trainer.generation.guidance
            for walk, [drawn] in progress.walks(trainer, training, guidance, arguments.num, labels):
                progress.record(arguments, FIGURES, judge(drawn.x), {**place, "walk": walk})
                if arguments.pictures:
                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    path = arguments.pictures / f"{walk}_seed{seed}_step{step}.png"
                    save_samples(drawn.x, drawn.levels, path)


if __name__ == "__main__":
    sys.exit(main())
