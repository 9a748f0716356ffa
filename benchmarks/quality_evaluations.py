"""Quality of digits against evaluations of the energy's gradient a sample: where the knee of one energy is.

    python -m benchmarks.quality_evaluations --run runs/one_digits --beside runs/cdrl_digits --draws 2 \\
        --json quality_evaluations.jsonl --picture quality_evaluations.png

A walk is T levels with K chain steps each. Of --run: "ancestral" (its proposals alone, K = 0), "chain" (as
its recipe has it), "uncorrected" (Langevin's plain noise, at half the step) and "adjusted" (Metropolis); of
runs beside: as they are. Evaluations are counted while sampling, a network's proposals too. Figures are those
of benchmarks.digits_quality, means over the draws; the walks that --quality names stand among them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks import command
from benchmarks.digits_quality import FIGURES, digits_distance
from benchmarks.judge_digits import Judge
from benchmarks.progress import APART
from modules import runs
from modules.core.checks import ConfigurationError, check_integer
from modules.core.types import EnergyFn, Transition
from modules.energies.base import Energy
from modules.energies.recovery import energy_and_grad
from modules.initializers.own import OwnInitializer
from modules.runs import Run
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.samplers.base import Sampler
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import QUALITIES
from modules.sampling.indexed import sample

KINDS = ("ancestral", "chain", "uncorrected", "adjusted")


class Counted(Energy):
    """An energy that counts the rows whose gradient it was asked for."""

    def __init__(self, energy: Energy) -> None:
        super().__init__(energy.shape, energy.num_classes)
        self.energy, self.rows = energy, 0

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        return self.energy(y, transition, label)

    def at(self, transition: Transition, label: Tensor | None = None) -> EnergyFn:
        return _CountedAt(self, self.energy.at(transition, label))


@dataclass(frozen=True)
class _CountedAt:
    counted: Counted
    bound: EnergyFn

    def __call__(self, y: Tensor) -> Tensor:
        return self.bound(y)

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        self.counted.rows += len(y)
        return energy_and_grad(self.bound, y)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="of one energy of digits")
    parser.add_argument("--beside", nargs="*", default=[], help="other runs of digits")
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 6, 12, 25, 50], help="T")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 5, 10], help="K of the chains")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--most", type=int, default=200, help="evaluations of a walk (default 200)")
    parser.add_argument("--num", type=int, default=1000, help="samples a draw (default 1000)")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--json", type=Path, help="append one line a walk here")
    parser.add_argument("--picture", type=Path, help="FID and recognised against evaluations")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    for name in ("num", "draws"):
        check_integer(f"--{name}", vars(arguments)[name], low=1)
    own = runs.load(arguments.run)
    if not isinstance(own.initializer, OwnInitializer):
        raise ConfigurationError(f"--run {arguments.run} is no run of one energy: name it in --beside")
    judge, distance = Judge.fit(), digits_distance()
    rows = []
    for kind, run in _walks(own, arguments):
        row = _row(kind, run, arguments, judge, distance)
        rows.append(row)
        shown = "".join(f"  {name} {row[name]:.3f}" for name in FIGURES if name in row)
        print(f"{kind:<20} {row['T']:>4} x {row['K']:<3} {row['evaluations']:>7.1f}{shown}", flush=True)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.write(json.dumps(row) + "\n")
    if arguments.picture:
        draw_picture(rows, arguments.picture)


def _walks(own: Run, arguments: argparse.Namespace) -> Iterator[tuple[str, Run]]:
    """Name and run, set to its levels and chain; those of --quality, then the grid, then the runs beside."""
    for quality in QUALITIES:
        if quality == "default" or quality in (own.generation.qualities or {}):
            yield f"--quality {quality}", own.with_quality(quality)
    for kind in arguments.kinds:
        for levels in arguments.levels:
            for steps in (0,) if kind == "ancestral" else arguments.steps:
                if levels * (1 + steps) <= arguments.most:
                    run = own.with_ladder(levels).with_steps(steps)
                    run.generation.sampler = _sampler(kind, run.generation.sampler)
                    yield kind, run
    for folder in arguments.beside:
        yield Path(folder).name, runs.load(folder)


def _sampler(kind: str, usual: Sampler) -> Sampler:
    steps = _steps(usual)
    if kind == "uncorrected":
        return Langevin(steps, step_factor=0.5)
    return AdjustedLangevin(steps) if kind == "adjusted" else usual


def _steps(sampler: Sampler) -> int:
    return int(getattr(sampler, "num_steps", 0))


def _row(
    kind: str, run: Run, arguments: argparse.Namespace, judge: Judge, distance: Callable[[Tensor], float]
) -> dict[str, object]:
    counted = Counted(run.energy)
    networks = replace(run.networks, energy=counted)
    num, num_classes = arguments.num, run.energy.num_classes
    labels = torch.arange(num) % num_classes if num_classes else None
    each = []
    for k in range(arguments.draws):
        drawn = sample(run.generation, networks, Draw.of_seed(k * APART, num, labels), run.runtime)
        each.append({"fid": distance(drawn.x), **judge(drawn.x, labels)})
    levels = run.schedule.num_levels
    proposals = 0 if isinstance(run.initializer, OwnInitializer) else levels  # of a network
    return {
        "walk": kind,
        "run": run.name,
        "T": levels,
        "K": _steps(run.generation.sampler),
        "evaluations": counted.rows / (num * arguments.draws) + proposals,
        "num": num,
        "draws": arguments.draws,
        **{name: sum(one[name] for one in each) / len(each) for name in each[0]},
    }


def draw_picture(rows: Sequence[dict[str, object]], path: Path) -> None:
    """FID and recognised against evaluations: a mark for each walk, a colour for each kind."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("fid", "recognised"), strict=True):
        for kind in dict.fromkeys(str(row["walk"]) for row in rows):
            mine = sorted((row["evaluations"], row[name]) for row in rows if row["walk"] == kind)
            x, y = zip(*mine, strict=True)
            style = {"marker": "*", "ms": 14} if kind.startswith("--") else {"marker": "o", "ms": 5}
            axes.plot(x, y, ls="", label=kind, **style)
        axes.set_xscale("log")
        axes.set_xlabel("evaluations of a gradient a sample")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
