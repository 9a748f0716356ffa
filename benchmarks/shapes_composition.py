"""How many pictures of a composition have what was asked of them, against its weights (spec §8).

    python -m benchmarks.shapes_composition runs/cdrl_shapes --asked colour=red shape=cross --weights 1 2 3
    python -m benchmarks.shapes_composition runs/cdrl_shapes --asked shape=circle --weights 2 \\
        --without "place=upper left" --without-weights 0 -1 -2

For each pair of weights draws --num pictures a seed of the run and judges them (benchmarks/judge_shapes.py).
A row holds shares, each as its mean over the seeds and the lowest and highest: of pictures near a drawing
(recognised), of these and of each attribute asked for, of all of them at once, and of what was not wanted.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import command
from benchmarks.judge_shapes import Judge, parse
from benchmarks.ranges import spread
from modules import runs
from modules.data.quantization import to_bytes, to_unit_range


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("run", help="the folder of a run on Shapes")
    add("--asked", nargs="+", required=True, metavar="ATTRIBUTE=VALUE")
    add("--weights", nargs="+", type=float, default=[1.0], metavar="W", help="of each attribute asked for")
    add("--without", metavar="ATTRIBUTE=VALUE", help="what is not wanted")
    add("--without-weights", nargs="+", type=float, default=[0.0], metavar="W", help="below 0: not this")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--num", type=int, default=256, help="pictures of each seed")
    add("--checkpoint", help="default: the newest")
    add("--set", action="append", default=[], dest="overrides", metavar="BINDING")
    return command.run(_measure, parser.parse_args(arguments))


def _measure(args: argparse.Namespace) -> None:
    asked = parse(args.asked)
    unwanted = parse([args.without]) if args.without else {}
    run = runs.load(args.run, args.checkpoint, overrides=args.overrides)
    judge = Judge(run.data.shape)
    classes = [run.label_of(f"{name}={value}") for name, value in [*asked.items(), *unwanted.items()]]
    names = ["recognised", *args.asked, "all", *([args.without] if unwanted else [])]
    print("weight  without  " + "  ".join(f"{name:>20}" for name in names))
    for weight in args.weights:
        for without in args.without_weights:
            weights = [weight] * len(asked) + [without] * len(unwanted)
            composed = run.with_conditions(classes, weights)
            found = []
            for seed in args.seeds:
                images = to_unit_range(to_bytes(composed.generate(args.num, seed=seed).x))
                shares = judge(images, asked)
                if unwanted:
                    shares[args.without] = judge(images, unwanted)[args.without]
                found.append(shares)
            cells = [f"{spread([shares[name] for shares in found]):>20}" for name in names]
            print(f"{weight:<6g}  {without:<7g}  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    sys.exit(main())
