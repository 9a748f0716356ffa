"""Judge the digits of every finished run of a sweep by benchmarks/judge_digits.py.

    python -m benchmarks.judge_sweep SWEEP --num 1000

Each run's samples of one seed, drawn as it is configured, are judged, and the figures kept in its
evaluations/judged.json; a run of which the same samples were judged already is passed over. The sweep's own
command with `--columns judged:recognised,judged:coverage_ratio` then puts them into its table.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import command
from benchmarks.judge_digits import FEWEST, Judge
from modules import runs
from modules.core.checks import CheckpointError, check_integer
from modules.report.measured import Measured
from modules.storage import checkpoints


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", type=Path, help="the sweep's folder")
    parser.add_argument("--num", type=int, default=1000, help="samples of each run (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    return command.run(_judge, parser.parse_args(words))


def _judge(arguments: argparse.Namespace) -> None:
    check_integer("--num", arguments.num, low=FEWEST)
    folders = sorted(path.parent for path in arguments.sweep.rglob(runs.CONFIG))
    if not folders:
        raise CheckpointError(f"{arguments.sweep} holds no run: name the folder of a sweep (its --output)")
    judge = None
    for folder in folders:
        place, saved = folder / "evaluations" / "judged.json", checkpoints.all_of_run(folder)
        protocol = {"samples": arguments.num, "seed": arguments.seed, "weights": "ema"}
        if not saved or _protocol(place) == {**protocol, "step": checkpoints.step_of(saved[-1])}:
            continue
        run = runs.load(folder)
        if run.step < run.config.value("Trainer.num_steps"):
            continue
        judge = judge or Judge.fit()
        figures = judge(run.generate(arguments.num, seed=arguments.seed).x)
        Measured(figures, {**protocol, "step": run.step}).write(place)
        print(f"{folder}: recognised {figures['recognised']:.3f}", flush=True)


def _protocol(place: Path) -> Any:
    """How the figures of a file were measured; None where there is none, or a damaged one."""
    try:
        return json.loads(place.read_text(encoding="utf-8"))["protocol"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
