"""Train a run from gin files (the default task)."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from modules.core.checks import CheckpointError, ConfigurationError, check_integer
from modules.storage.outputs import Outputs
from modules.tasks import _sweep
from modules.tasks._options import AUTO, LATEST

_PRECISION = "Runtime.precision"
_FILES = ("config.gin", "config.json", "data.json", "operative.gin", "metrics.jsonl", "curves.png")
"""That a new run writes beside its folders: none of them may be somebody else's."""

if TYPE_CHECKING:
    from modules.config import Config
    from modules.training.trainer import Trainer


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of training beyond the common ones."""
    add = parser.add_argument
    add("--keep", type=int, metavar="N", help="periodic checkpoints that stay, over Trainer.keep")
    add(
        "--allow-changes",
        action="store_true",
        help="with --resume: go on although the configuration or the data differ from the run's; with "
        "--sweep: go on with other points or seeds, and keep the runs that both have",
    )
    add(
        "--allow-inexact",
        action="store_true",
        help="with --resume: start anew what the checkpoint lacks, such as an optimizer's state",
    )
    _sweep.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train one run or a sweep of them, or with --dry-run say what would be trained."""
    if _sweep.is_wanted(arguments):
        return _sweep.run(arguments)

    from modules.storage import checkpoints

    folder = _folder(arguments)
    _sweep.check_no_sweep(folder)
    # at once, before anything slow; a new folder is made only when all is well
    with _lock(folder, wanted=folder.is_dir() and _is_main() and not arguments.dry_run) as locked:
        if locked:
            for place in (folder, folder / "checkpoints"):
                checkpoints.clean(place)
        return _run(arguments, folder)


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    import torch

    from modules import runs
    from modules.runs.data_record import check_data, told

    checkpoint = _checkpoint(arguments, folder)
    if arguments.resume == AUTO and _is_main():
        print(f"{folder}: {f'goes on from {checkpoint.name}' if checkpoint else 'begins'}")
    config = _config(arguments, checkpoint)
    if checkpoint and not arguments.allow_changes:
        _check_unchanged(checkpoint, config, arguments.trust_imports)

    # the one use of the global generator: initial weights
    torch.manual_seed(_seed(config))
    trainer: Trainer = config.build("Trainer")
    config.check_used()
    if arguments.keep is not None:
        check_integer("--keep", arguments.keep, low=1)
        trainer.keep = arguments.keep
    if arguments.dry_run:
        print(description(config, trainer))
        return 0

    # what doesn't fit the processes, or is broken or other data, is refused before anything is written
    trainer.micro_rows()
    examples = trainer.data.open()
    record = runs.DataRecord.of(trainer.data, examples)
    if checkpoint:
        before = _run_of(checkpoint)
        check_data(before, runs.DataRecord.read(before), record, arguments.allow_changes)
    if trainer.runtime.is_main:
        print(told(trainer.data, examples))
    with _lock(folder, wanted=trainer.runtime.is_main) as locked:
        if locked:
            if checkpoint is None or _run_of(checkpoint) != folder.absolute():
                _check_new(folder)  # still: nobody was faster
                Outputs(folder, "train", _FILES).begin()
            runs.save_config(folder, config)
            record.write(folder)
        training = trainer.train(folder, checkpoint, arguments.allow_inexact, examples)
    if training.stop_code and training.num_steps_done < trainer.num_steps:
        if trainer.runtime.is_main:
            done = f"stopped by a signal after step {training.num_steps_done:,}, which is saved"
            command = f"python launch.py --output {quote(str(folder))} --resume{_code(config)}"
            print(f"{done}; go on: {command}", file=sys.stderr)
        trainer.runtime.finish()
        return training.stop_code
    if trainer.runtime.is_main:
        print(f"{folder}: samples/, curves.png, metrics.jsonl, checkpoints/")
        run = quote(str(folder))
        print(f"sample it: python launch.py --task generate --run {run} --num 64{_code(config)}")
    trainer.runtime.finish()
    return 0


def _code(config: Config) -> str:
    """The options by which the run folder's code is let in again."""
    imports = "".join(f" --import {quote(name)}" for name in config.imports)
    return f"{imports}{' --trust-imports' if config.names_code else ''}"


@contextmanager
def _lock(folder: Path, wanted: bool) -> Iterator[bool]:
    """Hold the run folder where that is wanted; gives `wanted`."""
    from modules.storage.run_lock import run_lock

    with run_lock(folder) if wanted else nullcontext():
        yield wanted


def _is_main() -> bool:
    """Whether this process is the launcher's first, before devices and processes are set up."""
    return os.environ.get("RANK", "0") == "0"


def _folder(arguments: argparse.Namespace) -> Path:
    """The run's folder: as told, or that of the checkpoint or of the gin file's name."""
    if arguments.output:
        return Path(arguments.output)
    if arguments.resume not in (None, LATEST, AUTO):
        return _run_of(Path(arguments.resume))
    if arguments.gin:
        return Path("runs") / Path(arguments.gin[-1]).stem
    if arguments.resume:
        raise ConfigurationError("nothing to resume: name the run by --output, or its gin file by --gin")
    raise ConfigurationError("nothing to train: name a gin file, such as --gin gin/cdrl_digits.gin")


def _run_of(checkpoint: Path) -> Path:
    """RUN of RUN/checkpoints/step_N."""
    folder = checkpoint.absolute()
    if folder.parent.name != "checkpoints":
        raise CheckpointError(
            f"--resume {checkpoint} is no checkpoint of a run: name RUN/checkpoints/step_N, or no path"
        )
    return folder.parents[1]


def _checkpoint(arguments: argparse.Namespace, folder: Path) -> Path | None:
    """The checkpoint to go on from; None for a new run, whose folder must hold none yet."""
    from modules.storage import checkpoints

    if arguments.resume == LATEST or (arguments.resume == AUTO and checkpoints.all_of_run(folder)):
        return checkpoints.latest(folder)
    if arguments.resume == AUTO:
        return None
    path = Path(arguments.resume) if arguments.resume else None
    present = checkpoints.all_of_run(folder)
    if path and not path.is_dir():
        raise CheckpointError(f"--resume {path}: there is no such folder")
    if path and _run_of(path) == folder.absolute():
        if present and checkpoints.step_of(present[-1]) > checkpoints.step_of(path):
            raise CheckpointError(
                f"{folder} has gone on to {present[-1].name}: delete what comes after {path.name}, or branch "
                "off by --output another folder"
            )
        return path
    # under several processes the main one may have begun to write already
    if not arguments.dry_run and _is_main():
        _check_new(folder)
    return path


def _check_new(folder: Path) -> None:
    """Raise where a folder holds a run."""
    from modules.storage import checkpoints

    if checkpoints.all_of_run(folder):
        raise CheckpointError(f"{folder} holds a run already: add --resume, or --output another folder")


def _config(arguments: argparse.Namespace, checkpoint: Path | None) -> Config:
    """From the files named; with --resume and none named, the run's own. Its precision is no longer open."""
    from modules import config, runs

    def load(overrides: Sequence[str]) -> Config:
        if arguments.gin:
            return config.load(arguments.gin, overrides, arguments.imports)
        if checkpoint is None:
            raise ConfigurationError("nothing to train: name a gin file, such as --gin gin/cdrl_digits.gin")
        return runs.saved_config(_run_of(checkpoint), overrides, arguments.imports, arguments.trust_imports)

    found = load(arguments.overrides)
    taken = _precision(found, checkpoint, arguments.trust_imports)
    if taken is None:
        return found
    others = [words for words in arguments.overrides if words.split("=")[0].strip() != _PRECISION]
    return load([*others, f"{_PRECISION} = {taken!r}"])


def _precision(config: Config, checkpoint: Path | None, trust_imports: bool) -> str | None:
    """What the configuration's "auto" stands for, said in a line; None where that isn't asked.

    A run keeps the precision that it began in: on another machine its arithmetic stays what it was.
    """
    from modules import runs
    from modules.runtime import precision

    def bound(config: Config) -> object:
        return config.value(_PRECISION) if runs.is_bound(config, _PRECISION) else None

    before = None
    if checkpoint:
        folder = _run_of(checkpoint)
        before = bound(runs.saved_config(folder, imports=config.imports, trust_imports=trust_imports))
    wanted = bound(config)
    taken, told = None, None
    if wanted == precision.AUTO:
        taken, told = (str(before or "no"), None) if checkpoint else precision.chosen()
    if checkpoint and (taken or wanted) == "bf16":
        told = precision.kept()
    if told and _is_main():
        print(told)
    return taken


def _check_unchanged(checkpoint: Path, config: Config, trust_imports: bool) -> None:
    """Raise, with the difference, unless the run was made by this configuration."""
    from modules import runs

    folder = _run_of(checkpoint)
    before = runs.saved_config(folder, imports=config.imports, trust_imports=trust_imports)
    saved = before.text.splitlines()
    lines = difflib.ndiff(saved, config.text.splitlines())
    changed = [line for line in lines if line[0] in "+-" and line[2:].strip()]
    if changed:
        more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
        raise ConfigurationError(
            f"the configuration differs from that of {folder} ({'; '.join(changed[:6])}{more}): "
            "add --allow-changes to go on all the same"
        )


def _seed(config: Config) -> int:
    from modules import runs

    seed = config.value("Trainer.seed") if runs.is_bound(config, "Trainer.seed") else 0
    return seed if isinstance(seed, int) and 0 <= seed < 2**63 else 0  # anything else the Trainer refuses


def description(config: Config, trainer: Trainer) -> str:
    """What --dry-run prints: the resolved configuration, parameter counts and the effective batch."""
    rows = trainer.micro_rows()
    lines = [config.resolved().rstrip(), ""]
    for name, network in trainer.method.networks().items():
        count = sum(p.numel() for p in network.parameters())
        lines.append(f"{name}: {type(network).__name__}, {count:,} parameters")
    runtime = trainer.runtime
    lines.append(
        f"batch: {trainer.batch_size} = {runtime.num_processes} processes x {len(rows)} micro-batches "
        f"x {len(rows[0])}, on {runtime.device.type}, precision {runtime.precision}"
    )
    lines.append(f"steps: {trainer.num_steps:,}, {trainer.num_steps * trainer.batch_size:,} samples")
    return "\n".join(lines)
