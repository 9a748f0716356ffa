"""Likelihoods of images by one evaluation, by denoising errors and by annealing, term by term."""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.core.checks import ConfigurationError, DataError
from modules.tasks import _options

if TYPE_CHECKING:
    from torch import Tensor

    from modules.runs import Run

WAYS = ("evaluation", "denoising", "annealing")


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of likelihoods; `--set annealing/Hamiltonian.num_leapfrog=5` sets the transitions."""
    add = parser.add_argument
    add("--split", default="test", help='of the run\'s data, such as "train" (default test)')
    add("--num", type=int, default=1000, help="images, spread over the set (default 1000, or all)")
    add(
        "--by",
        nargs="+",
        choices=WAYS,
        help="one evaluation of a normalized energy, the errors of its denoising, annealed importance "
        "sampling of its constant (default: all that the run's energy allows)",
    )
    add("--draws", type=int, default=1, help="x_0 of each image, by evaluation and annealing (default 1)")
    add("--levels", type=int, default=64, help="by denoising: levels, one draw each (default 64)")
    add("--chains", type=int, default=64, help="by annealing: chains each way (default 64)")
    add(
        "--moves",
        choices=("proposals", "chains"),
        help="by annealing: the energy's own proposals through bridges times as many levels, an exact move "
        "at each (default where the run has them), or exact chains alone, on bridges between its levels",
    )
    add("--bridges", type=int, default=20, help="by annealing: stages from a level to the next (default 20)")
    _options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write likelihood.csv and likelihood.json, and print every term; stopped annealing goes on."""
    _options.need_run(arguments)
    _options.at_least_one(arguments, "num", "draws", "levels", "chains", "bridges")

    import torch

    from modules.analysis import likelihood
    from modules.core.noise import Noise
    from modules.data.quantization import dequantized
    from modules.initializers.own import OwnProposal
    from modules.runs.likelihood import of_rows
    from modules.schedules.score import ScoreSchedule

    if arguments.chains < 2:
        raise ConfigurationError("--chains 1: an error needs two chains at least: raise --chains")
    parts = {"annealing/Hamiltonian": {"num_steps": 1}}
    trained = _options.load_run(arguments, parts)
    logsnr = likelihood.logsnr_cleanest(trained.schedule)
    ways = _ways(arguments.by, trained)
    if arguments.moves == "proposals" and not isinstance(trained.initializer, OwnProposal):
        name = type(trained.initializer).__name__
        raise ConfigurationError(f"--moves proposals: a {name} doesn't know all levels: take --moves chains")
    examples = trained.data.with_split(arguments.split).open()
    num = min(arguments.num, len(examples))
    if num < 2:
        raise DataError(f"--split {arguments.split} has {len(examples)} examples: an error needs two")
    rows = torch.arange(num) * len(examples) // num
    images, labels = examples.rows(rows)
    if examples.grey_values:
        images = dequantized(images, examples.grey_values, Noise(arguments.seed, rows, stream="likelihood"))
    names = ("likelihood.csv", "likelihood.json")
    outputs = _options.outputs(arguments, f"likelihood_{arguments.split}", ("split",), names, trained)
    folder = outputs.folder

    def measured(of: Any) -> Tensor:
        return of_rows(trained, images, of, arguments.seed, arguments.batch_size, progress=True)

    nats: dict[str, Tensor] = {}
    said: dict[str, Any] = {}
    if "evaluation" in ways:
        nats["evaluation"] = -trained.log_prob(
            images, None, arguments.seed, arguments.draws, arguments.batch_size, True
        )
    if "denoising" in ways:
        assert isinstance(trained.schedule, ScoreSchedule)
        schedule = trained.schedule
        nats["denoising"] = measured(
            lambda x, noise, _: likelihood.by_denoising(trained.energy, schedule, x, noise, arguments.levels)
        )
    if {"evaluation", "annealing"} & set(ways):
        plain = measured(
            lambda x, noise, _: likelihood.unnormalized(
                trained.energy, trained.schedule, x, noise, arguments.draws
            )
        )
        said["unnormalized"] = likelihood.mean_and_error(plain)
    if "annealing" in ways:
        said["log_z"] = _log_z(trained, arguments, folder)
        nats["annealing"] = plain + said["log_z"]["value"]
    if trained.runtime.is_main:
        report = _Report(trained, arguments, logsnr, examples.grey_values, nats, said)
        outputs.begin()
        _write(folder, report, rows, labels)
        outputs.end()
        print("\n".join(report.lines))
        print(f"{folder}: likelihood.csv, likelihood.json")
    trained.runtime.finish()
    return 0


def _ways(asked: list[str] | None, trained: Run) -> list[str]:
    """What is measured: what is asked for, or all that can be."""
    from modules.energies.normalized import NormalizedEnergy
    from modules.schedules.score import ScoreSchedule

    can = {
        "evaluation": isinstance(trained.energy, NormalizedEnergy),
        "denoising": isinstance(trained.schedule, ScoreSchedule),
        "annealing": True,
    }
    why = {
        "evaluation": f"a {type(trained.energy).__name__} doesn't know its normalizing constant",
        "denoising": f"the gradient of an energy on a {type(trained.schedule).__name__} isn't the noise",
    }
    for way in asked or ():
        if not can[way]:
            raise ConfigurationError(f"--by {way}: {why[way]}: take --by annealing")
    return [way for way in WAYS if (way in asked if asked else can[way])]


def _log_z(trained: Run, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from tqdm.auto import tqdm

    from modules.analysis.annealing import by_level, sandwich
    from modules.analysis.likelihood import normalization
    from modules.energies.normalized import NormalizedEnergy
    from modules.tasks._annealing import annealed

    runtime = trained.runtime
    mine = len(range(runtime.rank, arguments.chains, runtime.num_processes))
    total = 2 * trained.schedule.num_levels * -(-mine // arguments.batch_size)
    bar = tqdm(total=total, unit="level", disable=not runtime.is_main)
    sampler = trained.parts["annealing/Hamiltonian"]
    place = folder / "annealing"
    ways = annealed(trained, sampler, arguments, place, lambda: bar.update())
    bar.close()
    levels = []
    for logsnr, (forward, reverse) in zip(ways.logsnr, by_level(ways.forward, ways.reverse), strict=True):
        value, error = sandwich(forward, reverse)
        one: dict[str, Any] = {"logsnr": logsnr, "value": value, "error": error}
        one |= {"forward": asdict(forward), "reverse": asdict(reverse)}
        if isinstance(trained.energy, NormalizedEnergy):
            one["known"] = normalization(trained.energy, logsnr).log_z
        levels.append(one)
    return {**levels[0], "steps": ways.steps, "levels": levels}


class _Report:
    """Figures of all ways, and the lines that tell them."""

    def __init__(
        self,
        trained: Run,
        arguments: argparse.Namespace,
        logsnr: float,
        grey_values: int | None,
        nats: dict[str, Tensor],
        said: dict[str, Any],
    ) -> None:
        self.trained, self.arguments, self.logsnr = trained, arguments, logsnr
        self.grey_values, self.nats, self.said = grey_values, nats, said
        self.size = math.prod(trained.energy.shape)
        self.figures: dict[str, dict[str, float]] = {}
        self.differences: dict[str, dict[str, Any]] = {}
        self.lines = [*self._head(), *self._ways(), *self._compared()]

    def bits(self, nats: Any) -> Any:
        """bits/dim of nats."""
        from modules.analysis.likelihood import bits_per_dim

        assert self.grey_values is not None
        return bits_per_dim(nats, self.size, self.logsnr, self.grey_values)

    def _head(self) -> list[str]:
        from modules.analysis.likelihood import grey_term, scale_term

        num, sigma = len(next(iter(self.nats.values()))), 1 / math.sqrt(1 + math.exp(self.logsnr))
        lines = [
            f"{num} examples of {self.arguments.split}, {self.size} dimensions; all figures are of "
            f"x_0 = √ᾱ x + σ̄ ε, λ = {self.logsnr:.2f}, σ̄ = {sigma:.4f}"
        ]
        if self.grey_values:
            lines += [
                f"x is dequantized: a uniform step of 2/{self.grey_values - 1} around each of "
                f"{self.grey_values} grey values",
                "bits/dim = -log p(x_0)/(D ln 2) - log2 √ᾱ + log2((n-1)/2): the last two "
                f"{scale_term(self.logsnr):+.5f} and {grey_term(self.grey_values):+.4f}",
            ]
        return lines

    def _ways(self) -> list[str]:
        from modules.analysis.likelihood import mean_and_error, normalization

        lines = []
        for way, nats in self.nats.items():
            mean, error = mean_and_error(nats)
            if way == "annealing":
                error = math.hypot(error, self.said["log_z"]["error"])
            self.figures[way] = {"nats": mean, "nats_error": error}
            text = f"{way}: -log p(x_0) = {mean:.3f} ± {error:.3f} nats"
            if self.grey_values:
                bits, bits_error = float(self.bits(mean)), error / (self.size * math.log(2))
                self.figures[way] |= {"bits_per_dim": bits, "bits_error": bits_error}
                text += f", {bits:.4f} ± {bits_error:.4f} bits/dim"
            lines.append(text)
            if way == "evaluation":
                parts = normalization(self.trained.energy, self.logsnr)  # type: ignore[arg-type]
                self.said["normalization"] = vars(parts)
                lines.append(
                    f"  E/σ̄ {self.said['unnormalized'][0]:.3f}, ℓ {parts.partition:+.3f}, "
                    f"c {parts.learned:+.3f}, -C {parts.constant:+.3f}: log Z as the energy has it "
                    f"{parts.log_z:+.3f}"
                )
            if way == "annealing":
                lines += self._annealing()
        return lines

    def _annealing(self) -> list[str]:
        z = self.said["log_z"]
        plain = self.said["unnormalized"][0]
        lines = [f"  -F {plain:.3f}, log Z {z['value']:+.3f} ± {z['error']:.3f}, between"]
        sides = {"forward": "low on average, so that bits come out too good", "reverse": "high on average"}
        for name, side in sides.items():
            f = z[name]
            lines.append(
                f"  {name} {f['value']:+.3f} ± {f['error']:.3f} ({side}; effective chains "
                f"{f['effective']:.1f} of {f['num']})"
            )
        if min(z["forward"]["effective"], z["reverse"]["effective"]) < 0.1 * z["forward"]["num"]:
            lines.append("  few chains carry these estimates: their errors are too small; raise --bridges")
        errors = math.hypot(z["forward"]["error"], z["reverse"]["error"])
        if abs(z["reverse"]["value"] - z["forward"]["value"]) > 2 * errors:
            lines.append("  the two differ beyond their errors: raise --bridges, or the samples are off")
        return [*lines, *self._by_level()]

    def _by_level(self) -> list[str]:
        """log Z along the way, and what the energy has for it, where it knows: where they come apart."""
        lines = ["  log Z by level (sigma: forward, reverse, of the energy):"]
        for one in self.said["log_z"]["levels"]:
            sigma = 1 / math.sqrt(1 + math.exp(one["logsnr"]))
            text = f"  {sigma:8.4f}: "
            text += ", ".join(
                f"{one[k]['value']:+.2f} ± {one[k]['error']:.2f}" for k in ("forward", "reverse")
            )
            lines.append(text + (f", {one['known']:+.2f}" if "known" in one else ""))
        return lines

    def _compared(self) -> list[str]:
        """Every pair of ways, on the same images: their difference and whether it is within two errors."""
        from itertools import combinations

        from modules.analysis.likelihood import mean_and_error

        lines = []
        for one, other in combinations(self.nats, 2):
            mean, error = mean_and_error(self.nats[one] - self.nats[other])
            if other == "annealing":
                error = math.hypot(error if one == "denoising" else 0.0, self.said["log_z"]["error"])
            agrees = abs(mean) <= 2 * error
            self.differences[f"{one} - {other}"] = {"nats": mean, "error": error, "agree": agrees}
            word = "agree" if agrees else "DISAGREE beyond their errors"
            lines.append(f"{one} and {other} {word}: {mean:+.3f} ± {error:.3f} nats on the same examples")
        return lines


def _write(folder: Path, report: _Report, rows: Tensor, labels: Tensor) -> None:
    """likelihood.csv, a row an image, and likelihood.json."""
    columns = {f"{way}_nats": nats.tolist() for way, nats in report.nats.items()}
    if report.grey_values:
        columns |= {f"{way}_bits_per_dim": report.bits(nats).tolist() for way, nats in report.nats.items()}
    with (folder / "likelihood.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["index", "label", *columns])
        table.writerows(zip(rows.tolist(), labels[:, 0].tolist(), *columns.values(), strict=True))
    arguments = report.arguments
    names = ("split", "draws", "levels", "moves", "chains", "bridges", "seed", "ladder", "weights")
    head: dict[str, Any] = {"run": str(report.trained.folder), "step": report.trained.step}
    head |= {name: vars(arguments)[name] for name in names} | {"set": arguments.overrides}
    head |= {"num": len(rows), "logsnr": report.logsnr, "grey_values": report.grey_values}
    body = {"figures": report.figures, "differences": report.differences, **report.said}
    (folder / "likelihood.json").write_text(json.dumps({**head, **body}, indent=1) + "\n", encoding="utf-8")
