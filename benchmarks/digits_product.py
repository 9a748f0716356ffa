"""What the product of two models of digits draws: the classes that both were trained on? (spec §8)

    python launch.py --gin gin/cdrl_digits.gin --set "Digits.omit=(7, 8, 9)" --output runs/digits_0_to_6
    python launch.py --gin gin/cdrl_digits.gin --set "Digits.omit=(0, 1, 2)" --output runs/digits_3_to_9
    python -m benchmarks.digits_product runs/digits_0_to_6 runs/digits_3_to_9 --weights 0.5 1
    python -m benchmarks.digits_product runs/digits_0_to_6 runs/digits_3_to_9 \\
        --set generate/Langevin.num_steps=20

A row for each model alone and for f = w (f_A + f_B) at each w. Shares, each as its mean over the seeds and
the lowest and highest: of all pictures, those recognised by the judge (benchmarks/judge_digits.py); of the
recognised ones, those of a class of A's data, of B's, and of both.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from benchmarks import command
from benchmarks.judge_digits import Judge
from benchmarks.ranges import spread
from modules import runs
from modules.data.quantization import to_bytes, to_unit_range

COLUMNS = ("recognised", "of A's classes", "of B's", "of both")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("a", metavar="A", help="the folder of a run on Digits without some classes")
    add("b", metavar="B", help="another")
    add("--weights", nargs="+", type=float, default=[0.5, 1.0], metavar="W", help="of both models alike")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--num", type=int, default=256, help="pictures of each seed")
    add("--set", action="append", default=[], dest="overrides", metavar="BINDING", help="of both runs")
    return command.run(_measure, parser.parse_args(arguments))


def _measure(args: argparse.Namespace) -> None:
    a, b = (runs.load(folder, overrides=args.overrides) for folder in (args.a, args.b))
    classes = [_classes(run) for run in (a, b)]
    judge = Judge.fit()
    rows = {"A alone": a, "B alone": b}
    rows |= {f"w = {weight:g}": a.composed_with([b], [weight, weight]) for weight in args.weights}
    print(f"{'':10}" + "  ".join(f"{name:>20}" for name in COLUMNS))
    for name, run in rows.items():
        found = [
            shares(judge, to_unit_range(to_bytes(run.generate(args.num, seed=seed).x)), classes)
            for seed in args.seeds
        ]
        cells = [f"{spread(column):>20}" for column in zip(*found, strict=True)]
        print(f"{name:10}" + "  ".join(cells), flush=True)


def _classes(run: runs.Run) -> Tensor:
    """The classes of a run's data, (k,)."""
    omitted = getattr(run.data, "omit", ())
    return torch.tensor([digit for digit in range(10) if digit not in omitted])


def shares(judge: Judge, images: Tensor, classes: list[Tensor]) -> tuple[float, ...]:
    """The figures of COLUMNS of images (n, 1, 8, 8); 0 of the recognised where none is."""
    near, found = judge.recognise(images)
    within = [torch.isin(found[near], those) for those in classes]
    of_recognised = [
        chosen.double().mean().item() if near.any() else 0.0 for chosen in (*within, within[0] & within[1])
    ]
    return near.double().mean().item(), *of_recognised


if __name__ == "__main__":
    sys.exit(main())
