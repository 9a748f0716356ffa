"""Run long chains on a trained run and say whether they are stable: numbers as JSON, and a picture."""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.core.checks import ConfigurationError
from modules.tasks import _options
from modules.tasks._judge import Judge

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from modules.analysis.chains import LongChains
    from modules.analysis.verdict import Verdict
    from modules.runs import Run
    from modules.samplers.base import Sampler


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of long-run chains."""
    add = parser.add_argument
    add(
        "--start",
        nargs="+",
        choices=("data", "noise", "samples"),
        default=["data"],
        help="where chains start; of several all run in one batch (default data)",
    )
    add(
        "--along",
        choices=("level", "conditional", "ladder"),
        default="level",
        help="one level's marginal (default), its conditional given x_t, or all conditionals in turn",
    )
    add(
        "--level",
        nargs="+",
        type=int,
        help="of the chains, 0 the cleanest; several run in one batch (default 0); not with --along ladder",
    )
    add("--steps", type=int, default=10_000, help="of each chain, at each level (default 10000)")
    add("--every", type=int, default=20, help="steps between two records (default 20)")
    add(
        "--sampler",
        metavar="CLASS",
        help="Langevin, AdjustedLangevin, Hamiltonian, UnderdampedLangevin or one of your own, which "
        "--set chains/CLASS.ARGUMENT=VALUE sets (default: the one that the run was trained with)",
    )
    add("--num", type=int, default=64, help="how many chains (default 64)")
    add("--burn-in", type=float, default=0.5, help="share of steps the verdict leaves out (default 0.5)")
    add(
        "--judge",
        metavar="MODULE:NAME",
        help="says which images are recognised, such as benchmarks.judge_digits:recognised, or as what, such "
        "as benchmarks.judge_digits:classes: then changes of class are counted",
    )
    add("--frames", type=int, default=10, help="records that are kept as images and judged (default 10)")
    add(
        "--temper",
        type=int,
        metavar="N",
        help="parallel tempering: every N steps the level exchanges states with the one above it, and that "
        "one with the next, up to noise (default: off); with --ladder: neighbours must be near",
    )
    _options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write chains.json and chains.png, and print the verdicts."""
    _check(arguments)
    judge = None if arguments.judge is None else Judge(arguments.judge)

    import torch
    from tqdm.auto import tqdm

    from modules.analysis.verdict import judge_chains
    from modules.contracts.before import check_sampling
    from modules.core.checks import check_instance
    from modules.report.chain_pictures import save_chains
    from modules.report.protocol import described, named
    from modules.samplers.base import Sampler

    name = f"chains/{arguments.sampler}"
    at_once = arguments.temper or arguments.every
    asked = {name: {"num_steps": at_once}} if arguments.sampler else {}
    trained = _options.load_run(arguments, asked)
    if arguments.sampler:
        check_instance(f"--sampler {arguments.sampler}", trained.parts[name], Sampler)
        sampler = trained.parts[name]
    else:
        sampler = trained.sampler.with_steps(at_once)
    by, checked = named(sampler), copy.copy(trained.generation)
    checked.sampler = sampler
    check_sampling(checked, trained.networks, trained.runtime)
    levels = trained.method.schedule.num_levels
    for asked_level in arguments.level or ():
        if not 0 <= asked_level < levels:
            raise ConfigurationError(f"--level {asked_level}: the run has levels 0..{levels - 1}")
    if arguments.temper and arguments.level == [levels - 1]:
        raise ConfigurationError(f"--temper: level {levels - 1} is the noisiest: there is none above it")
    if judge is not None:  # on as many images as it will be given; a misfit is told before the chains
        judge.classes(torch.zeros(arguments.num, *trained.data.shape))
    told, files = ("along", "level", "start"), ("chains.json", "chains.png")
    outputs = _options.outputs(arguments, _folder(arguments), told, files, trained)
    folder = outputs.folder

    runtime = trained.runtime
    mine = torch.arange(arguments.num)[runtime.rank :: runtime.num_processes]
    runs_of_levels = levels * len(arguments.start) if arguments.along == "ladder" else 1
    records = arguments.steps // arguments.every * runs_of_levels * -(-len(mine) // arguments.batch_size)
    bar = tqdm(total=records * arguments.every, unit="step", disable=not runtime.is_main)
    parts = [
        (index, _batch(trained, sampler, arguments, index, lambda: bar.update(arguments.every)))
        for index in mine.split(arguments.batch_size)
    ]
    bar.close()
    watched = _in_order(runtime.gather_objects(parts))
    if runtime.is_main:
        judged, recognised, said = [], list[list[float]](), list[dict[str, Any]]()
        for chains in watched:
            shares, figures = None, _swapped(chains)
            if judge is not None:
                classes = torch.stack([judge.classes(x) for x in chains.clean])
                recognised.append((classes >= 0).double().mean(1).tolist())
                shares = recognised[-1][0], recognised[-1][-1]
                between = arguments.every * chains.frame_records[-1] / (len(chains.frame_records) - 1)
                figures |= judge.changes(classes, between)
            said.append(figures)
            verdict = judge_chains(
                chains.energy, chains.displacement, arguments.steps, shares, arguments.burn_in
            )
            judged.append((chains, verdict))
            taken = "" if chains.acceptance is None else f" ({float(chains.acceptance.mean()):.1%} accepted)"
            reasons = "; ".join(verdict.reasons)
            print(f"{chains.name}: {f'{verdict.word}: {reasons}'.rstrip(': ')}{taken}")
            for figure, value in figures.items():
                told_as = ", ".join(f"{v:.3g}" for v in value) if isinstance(value, list) else f"{value:.3g}"
                print(f"  {figure.replace('_', ' ')}: {told_as}")
        outputs.begin()
        _write(folder / "chains.json", arguments, trained, described(sampler), judged, recognised, said)
        save_chains(judged, arguments.every, arguments.burn_in, folder / "chains.png", recognised)
        outputs.end()
        print(f"chains by {by}, in {folder}: chains.json, chains.png")
    runtime.finish()
    return 0


def _check(arguments: argparse.Namespace) -> None:
    from modules.analysis.verdict import BATCHES

    _options.need_run(arguments)
    if min(arguments.num, arguments.batch_size, arguments.every, arguments.steps) < 1:
        raise ConfigurationError("--num, --batch-size, --every and --steps must be at least 1")
    if arguments.frames < 2:
        raise ConfigurationError("--frames must be at least 2: the start and the end")
    if arguments.temper is not None and (arguments.temper < 1 or arguments.every % arguments.temper):
        raise ConfigurationError(
            f"--temper {arguments.temper}: --every {arguments.every} must be a multiple of it, above 0"
        )
    if arguments.temper and arguments.along != "level":
        raise ConfigurationError(f"--temper is of levels' marginals: leave --along {arguments.along} out")
    if arguments.steps % arguments.every:
        raise ConfigurationError(f"--steps {arguments.steps} must be a multiple of --every {arguments.every}")
    if not 0 <= arguments.burn_in < 1:
        raise ConfigurationError(f"--burn-in must be at least 0 and below 1, got {arguments.burn_in}")
    records = arguments.steps // arguments.every + 1
    if records - round(arguments.burn_in * records) < 2 * BATCHES:
        raise ConfigurationError(
            f"--steps {arguments.steps} --every {arguments.every}: fewer than {2 * BATCHES} records are left "
            "after the burn-in: make chains longer or record more often"
        )
    if arguments.temper and (len(arguments.level or [0]) > 1 or len(arguments.start) > 1):
        raise ConfigurationError("--temper is of one --level and one --start: its others are all those above")
    for name in ("level", "start"):
        given = vars(arguments)[name] or ()
        if len(set(given)) < len(given):
            raise ConfigurationError(f"--{name}: the same one is given twice")
    if arguments.along == "ladder" and arguments.level is not None:
        raise ConfigurationError("--along ladder runs at all levels: leave --level out")


def _folder(arguments: argparse.Namespace) -> str:
    """The name of the default folder: one for each kind of chains, so that none replaces another's."""
    level = "" if arguments.along == "ladder" else "+".join(map(str, arguments.level or [0]))
    return f"chains_{arguments.along}{level}_{'+'.join(arguments.start)}"


def _swapped(chains: LongChains) -> dict[str, Any]:
    """Figures of tempering: shares of swaps taken, the lowest pair first, and arrivals from the top."""
    if chains.swaps is None or chains.round_trips is None:
        return {}
    return {
        "swaps_taken": chains.swaps.mean(1).tolist(),
        "round_trips_per_chain": float(chains.round_trips.mean()),
    }


def _batch(
    trained: Run, sampler: Sampler, arguments: argparse.Namespace, index: Tensor, each: Callable[[], None]
) -> list[LongChains]:
    """The chains of some indices: at each level from each start, all at once, or of each level in turn."""
    import dataclasses

    import torch

    from modules.analysis.chains import along_ladder, at_level, starts
    from modules.analysis.tempering import Replicas
    from modules.core.noise import Noise
    from modules.schedules.forward import marginal

    method, generation, runtime = trained.method, trained.generation, trained.runtime
    index = index.to(runtime.device)
    noise = Noise(arguments.seed, index, stream="chains")
    clean = {start: _clean(trained, arguments, index, noise, start) for start in arguments.start}
    every = arguments.steps // arguments.every
    if arguments.along == "ladder":
        top = method.schedule.transition(torch.full_like(index, method.schedule.num_levels))
        eps, found = noise.normal("eps", tuple(trained.energy.shape)), []
        for start, (x, label) in clean.items():
            x_top = eps if start == "noise" else marginal(x, top.alpha_t, top.sigma_t, eps)
            with runtime.autocast():
                ways = along_ladder(
                    generation, trained.networks, sampler, x_top, label, noise, every, arguments.frames, each
                )
            found += [dataclasses.replace(chains, origin=start) for chains in ways]
        return found
    levels = arguments.level or [0]
    if arguments.temper:
        levels = list(range(levels[0], method.schedule.num_levels))
    begun = []
    for start, (x, label) in clean.items():
        for number, level in enumerate(levels):
            # of replicas each has numbers of its own, the lowest those of chains that aren't tempered
            rows = index + arguments.num * number if arguments.temper else index
            own = Noise(arguments.seed, rows, stream="chains")
            transition = method.schedule.transition(torch.full_like(index, level + 1), x.dtype)
            x_s, x_t = starts(x, transition, own, start == "noise")
            begun.append((x_s, x_t, label, rows, transition.t))
    x_s, x_t, label, rows, t = (torch.cat(parts) for parts in zip(*begun, strict=True))
    with runtime.autocast():
        chains = at_level(
            generation,
            method.energy,
            sampler,
            method.schedule.transition(t, x_s.dtype),
            x_s,
            x_t if arguments.along == "conditional" else None,
            label,
            Noise(arguments.seed, rows, stream="chains"),
            every,
            arguments.frames,
            each,
            Replicas(len(levels)) if arguments.temper else None,
            arguments.every // (arguments.temper or arguments.every),
        )
    if arguments.temper:
        return [dataclasses.replace(chains, origin=arguments.start[0])]
    found = []
    for number, (start, level) in enumerate((start, level) for start in arguments.start for level in levels):
        mine = chains.rows(torch.arange(len(index)) + number * len(index))
        found.append(dataclasses.replace(mine, t=level + 1, origin=start))
    return found


def _clean(
    trained: Run, arguments: argparse.Namespace, index: Tensor, noise: Any, start: str
) -> tuple[Tensor, torch.Tensor]:
    """Clean images of the chains, of the data (for noise too: x_t is theirs) or drawn; and labels."""
    import torch

    from modules.sampling.draw import Draw
    from modules.sampling.indexed import sample_batches

    method, runtime = trained.method, trained.runtime
    classes = method.energy.num_classes
    if start == "samples":
        every = torch.arange(arguments.num) % classes if classes else torch.full((arguments.num,), -1)
        draw, which = Draw.of_seed(arguments.seed, arguments.num, every), index.cpu()
        size = arguments.batch_size
        drawn = sample_batches(trained.generation, trained.networks, draw, which, runtime, size, ())
        return next(drawn)[1].x, every[which].to(runtime.device)
    examples = trained.open_data()
    rows = noise.integers("row", 0, len(examples))
    images, labels = examples.rows(rows.cpu())
    return images.to(runtime.device), labels[:, 0].to(runtime.device)


def _in_order(parts: list[tuple[Tensor, list[LongChains]]]) -> list[LongChains]:
    """The chains of all batches and processes in the order of their index, a list over levels."""
    import torch

    from modules.analysis.chains import join

    order = torch.cat([index for index, _ in parts]).argsort()
    joined = [join(batches) for batches in zip(*(chains for _, chains in parts), strict=True)]
    return [chains.rows(order) for chains in joined]


def _write(
    path: Path,
    arguments: argparse.Namespace,
    trained: Run,
    sampler: dict[str, Any],
    judged: list[tuple[LongChains, Verdict]],
    recognised: list[list[float]],
    said: list[dict[str, Any]],
) -> None:
    """Settings, verdicts, and the mean curves; what isn't finite becomes null."""
    from modules.analysis.mixing import autocorrelation_time, over_time

    names = (
        "start",
        "along",
        "steps",
        "every",
        "num",
        "burn_in",
        "judge",
        "seed",
        "weights",
        "ladder",
        "temper",
    )
    levels = [
        {
            "level": chains.t - 1,
            "start": chains.origin,
            "verdict": verdict.word,
            "reasons": verdict.reasons,
            **{name: _number(value) for name, value in verdict.figures.items()},
            "acceptance": None if chains.acceptance is None else _number(float(chains.acceptance.mean())),
            "autocorrelation_steps": _number(
                arguments.every * autocorrelation_time(_kept(chains, arguments))
            ),
            "autocorrelation_steps_over_time": [
                _number(arguments.every * time) for time in over_time(chains.energy).tolist()
            ],
            "frame_steps": [record * arguments.every for record in chains.frame_records],
            "recognised": recognised[number] if recognised else None,
            **{name: _number(v) if isinstance(v, float) else v for name, v in said[number].items()},
            "energy": [_number(value) for value in chains.energy.mean(1).tolist()],
            "displacement": [_number(value) for value in chains.displacement.mean(1).tolist()],
        }
        for number, (chains, verdict) in enumerate(judged)
    ]
    settings = {"run": str(trained.folder), "step": trained.step, "sampler": sampler}
    settings |= {name: vars(arguments)[name] for name in names}
    path.write_text(json.dumps({**settings, "levels": levels}, indent=1) + "\n", encoding="utf-8")


def _kept(chains: LongChains, arguments: argparse.Namespace) -> Tensor:
    """Energies after the burn-in."""
    return chains.energy[round(arguments.burn_in * len(chains.energy)) :]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
