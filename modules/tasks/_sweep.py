"""`--sweep`: train every point of a grid as a run of its own, then put what they measured side by side."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import CheckpointError, ConfigurationError, check_integer, one_line
from modules.tasks._options import AUTO, LATEST

if TYPE_CHECKING:
    from modules.sweep.plan import Run

LAUNCH = Path(__file__).resolve().parents[2] / "launch.py"


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of a sweep."""
    add = parser.add_argument
    add(
        "--sweep",
        action="append",
        default=[],
        metavar="AXIS",
        help='train every point of a grid: "Langevin.num_steps=5,10,15", or named points of several '
        'bindings, "short: A=1; B=2 | long: A=3" (repeatable; docs/sweeps.md)',
    )
    add("--seeds", metavar="N", help='train each point with seeds 0..N-1, or with those of a list, "4,7"')
    add("--jobs", type=int, metavar="N", help="points that train at once (default 1)")
    add(
        "--columns",
        metavar="A,B",
        help="what a sweep's table shows, of evaluations and metrics.jsonl (default: what is evaluated)",
    )


def is_wanted(arguments: argparse.Namespace) -> bool:
    """Whether the command is a sweep's."""
    wanted = bool(arguments.sweep) or arguments.seeds is not None
    for name in ("jobs", "columns"):
        if vars(arguments)[name] is not None and not wanted:
            raise ConfigurationError(f"--{name} is for a sweep: add --sweep or --seeds")
    return wanted


def check_no_sweep(folder: Path) -> None:
    """Raise where a single run would be trained in a sweep's folder."""
    if (folder / "sweep.json").is_file():
        from modules.sweep import plan

        definition = plan.saved(folder) or {"command": "its own command"}
        raise CheckpointError(f"{folder} is the folder of a sweep; go on with it by {definition['command']}")


def run(arguments: argparse.Namespace) -> int:
    """Check every point; train what is left; write the table. 1 where a run failed, a signal's code first."""
    if not arguments.gin:
        raise ConfigurationError("nothing to train: name a gin file, such as --gin gin/cdrl_digits.gin")
    if arguments.resume not in (None, LATEST, AUTO):
        raise ConfigurationError(
            f"--resume {arguments.resume}: a sweep's runs start anew; --resume alone goes on with the sweep"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigurationError("a sweep starts its runs itself, as one process each: use python launch.py")
    at_once = 1 if arguments.jobs is None else arguments.jobs
    check_integer("--jobs", at_once, low=1, high=1024)
    if arguments.keep is not None:
        check_integer("--keep", arguments.keep, low=1)
    columns = [name.strip() for name in (arguments.columns or "").split(",") if name.strip()]

    from modules.storage.run_lock import run_lock
    from modules.sweep import axes, plan

    folder = Path(arguments.output or Path("runs") / f"{Path(arguments.gin[-1]).stem}_sweep")
    of_axes, seeds = axes.axes_of(arguments.sweep), axes.seeds_of(arguments.seeds)
    drawn_up = plan.Plan(folder, arguments.gin, arguments.overrides, arguments.imports, of_axes, seeds)
    runs, lines = drawn_up.check()
    if arguments.dry_run:
        print("\n".join(lines))
        print(f"{len(lines)} points x {len(seeds)} seeds = {len(runs)} runs below {folder}")
        return 0
    if arguments.resume == LATEST and plan.saved(folder) is None:
        raise CheckpointError(f"{folder} is no sweep's folder: leave --resume away to begin one")
    with run_lock(folder):
        definition = drawn_up.definition(runs, _command(arguments, folder))
        plan.remember(folder, definition, arguments.allow_changes)
        failed, stop_code = _train(runs, at_once, arguments)
        finished = [run for run in runs if run.is_finished]
        for name, reason in failed.items():
            print(f"failed: {name}: {reason}", file=sys.stderr)
        try:
            _report(folder, runs, finished, columns, definition["command"])
        except ConfigurationError as error:
            if not stop_code and not failed:
                raise
            # the exit code tells how the runs ended, whatever the table's columns are
            print(f"error: {one_line(error)}", file=sys.stderr)
    if stop_code:
        done = f"stopped by a signal with {len(finished)} of {len(runs)} runs finished"
        print(f"{done}; the same command goes on: {definition['command']}", file=sys.stderr)
        return stop_code
    if failed:
        print(f"{len(failed)} of {len(runs)} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


def _train(runs: Sequence[Run], at_once: int, arguments: argparse.Namespace) -> tuple[dict[str, str], int]:
    """Train what isn't finished; why runs failed, by name, and the code of a signal that stopped it."""
    from modules.report.sweep_table import final
    from modules.runtime.signals import Signals
    from modules.storage.run_lock import is_held
    from modules.sweep.workers import Job, work

    left = [run for run in runs if not run.is_finished]
    if len(left) < len(runs):
        print(f"{len(runs) - len(left)} of {len(runs)} runs are finished already", flush=True)
    jobs = {Job(partial(_words, run, arguments), run.folder, run.log): run for run in left}
    lengths: dict[Job, int] = {}
    failed: dict[str, str] = {}
    signals = Signals()

    def say(job: Job, what: str) -> None:
        print(f"[{runs.index(jobs[job]) + 1}/{len(runs)}] {jobs[job]}: {what}", flush=True)

    def started(job: Job) -> None:
        lengths[job] = job.log.stat().st_size if job.log.exists() else 0
        say(job, f"{'goes on' if jobs[job].is_begun else 'begins'}; {job.log}")

    def ended(job: Job, code: int) -> None:
        if code == 0 and jobs[job].is_finished:
            figures, chief = final(job.folder)
            shown = [f"{name} {figures[name]:.4g}" for name in chief if name in figures]
            say(job, ", ".join([f"finished after {figures.get('seconds', 0.0):.0f} s", *shown]))
        elif signals.code:
            say(job, "stopped")
        else:
            failed[str(jobs[job])] = f"{_last_line(job.log, lengths[job])} (exit code {code}; {job.log})"
            say(job, f"failed with exit code {code}")

    for job in jobs:
        if is_held(job.folder):  # by what a killed sweep left behind
            say(job, "waits for the end of a process that is writing it")
    with signals.noted():
        work(list(jobs), at_once, signals, started, ended, _devices())
    return failed, signals.code


def _report(
    folder: Path, runs: Sequence[Run], finished: Sequence[Run], columns: Sequence[str], command: str
) -> None:
    """sweep.csv, sweep.md and sweep.png, where there's anything to show."""
    from modules.report.sweep_plot import save_plot
    from modules.report.sweep_table import Row, table
    from modules.storage import durable

    if not finished:
        return
    points = list({id(run.point): run.point for run in runs}.values())
    rows = [Row(p.names, [run.folder for run in finished if run.point is p]) for p in points]
    made = table(rows, columns)
    durable.replace_file(folder / "sweep.csv", made.csv())
    seeds = dict.fromkeys(run.seed for run in runs if run.seed is not None)
    words = [f"Seeds {', '.join(map(str, seeds))}."] if seeds else []
    if missing := [str(run) for run in runs if run not in finished]:
        words.append(f"Not finished: {'; '.join(missing)}.")
    parts = [f"# {folder.resolve().name}", f"`{command}`", made.markdown().rstrip()]
    parts += [" ".join(words)] if words else []
    parts.append("![Means with their spread, and single seeds](sweep.png)")
    durable.replace_file(folder / "sweep.md", "\n\n".join(parts) + "\n")
    save_plot(made, folder / "sweep.png")
    print(f"{folder}: sweep.csv, sweep.md, sweep.png", flush=True)


def _words(run: Run, arguments: argparse.Namespace) -> list[str]:
    """The command of a run: an ordinary training, which goes on where it has begun."""
    words = [sys.executable, str(LAUNCH), *_repeated("--gin", arguments.gin), "--output", str(run.folder)]
    words += [*_repeated("--set", run.overrides), *_repeated("--import", arguments.imports)]
    words += ["--resume", AUTO]
    words += ["--keep", str(arguments.keep)] if arguments.keep is not None else []
    for name in ("trust_imports", "allow_inexact", "traceback"):
        words += [f"--{name.replace('_', '-')}"] if vars(arguments)[name] else []
    return words


def _command(arguments: argparse.Namespace, folder: Path) -> str:
    """The sweep's command, as a shell takes it."""
    words = ["python", "launch.py"]
    for option, texts in (
        ("gin", arguments.gin),
        ("set", arguments.overrides),
        ("import", arguments.imports),
    ):
        words += _repeated(f"--{option}", texts)
    words += _repeated("--sweep", arguments.sweep)
    words += ["--seeds", arguments.seeds] if arguments.seeds is not None else []
    return shlex.join([*words, "--output", str(folder)])


def _repeated(option: str, texts: Sequence[str]) -> list[str]:
    return [word for text in texts for word in (option, text)]


def _last_line(log: Path, start: int) -> str:
    """The error that a command's output ends with, since a place in its log; else its last line."""
    try:
        text = log.read_bytes()[start:].decode(errors="replace").replace("\r", "\n")
    except OSError:
        return "without output"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return [*lines, *errors][-1] if lines else "without output"


def _devices() -> list[str]:
    """Names of the GPUs that runs may have, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]
