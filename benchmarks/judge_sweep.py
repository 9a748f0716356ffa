"""Judge the digits of every finished run of a sweep by benchmarks/judge_digits.py.

    python -m benchmarks.judge_sweep SWEEP --num 1000

Each run's samples of one seed, drawn as it is configured, are judged, and the figures kept in its
evaluations/judged.json. The sweep's own command with `--columns judged:recognised,judged:coverage_ratio`
then puts them into its table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.judge_digits import Judge
from modules import checkpoints, runs
from modules.report.measured import Measured


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", type=Path, help="the sweep's folder")
    parser.add_argument("--num", type=int, default=1000, help="samples of each run (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    arguments = parser.parse_args(words)
    judge = None
    for folder in sorted(path.parent for path in arguments.sweep.rglob(runs.CONFIG)):
        place = folder / "evaluations" / "judged.json"
        if place.exists() or not checkpoints.all_of_run(folder):
            continue
        run = runs.load(folder)
        if run.step < run.config.value("Trainer.num_steps"):
            continue
        judge = judge or Judge.fit()
        figures = judge(run.generate(arguments.num, seed=arguments.seed).x)
        protocol = {"samples": arguments.num, "seed": arguments.seed, "step": run.step, "weights": "ema"}
        Measured(figures, protocol).write(place)
        print(f"{folder}: recognised {figures['recognised']:.3f}", flush=True)


if __name__ == "__main__":
    main()
