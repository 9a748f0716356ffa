"""Train a run from gin files (the default task)."""

from __future__ import annotations

import argparse
import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from modules.checks import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from modules.config import Config
    from modules.trainer import Trainer


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of training beyond the common ones."""
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="with --resume: go on although the configuration differs from the run's",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, or with --dry-run say what would be trained."""
    import torch

    from modules import runs

    folder = _folder(arguments)
    config = _config(arguments, folder)
    resume = _checkpoint(arguments.resume, folder, config, arguments.allow_changes)

    # the one use of the global generator: initial weights
    torch.manual_seed(_seed(config))
    trainer: Trainer = config.build("Trainer")
    config.check_used()
    if arguments.dry_run:
        print(description(config, trainer))
        return 0

    trainer.micro_rows()  # refuses batch sizes that don't fit the processes, before anything is written
    if trainer.runtime.is_main and (resume is None or arguments.allow_changes):
        runs.save_config(folder, config)
    trainer.runtime.wait()
    trainer.train(folder, resume)
    if trainer.runtime.is_main:
        print(f"{folder}: samples/, curves.png, metrics.jsonl, checkpoints/")
        print(f"sample it: python launch.py --task generate --run {folder} --num 64")
    return 0


def _folder(arguments: argparse.Namespace) -> Path:
    if arguments.output:
        return Path(arguments.output)
    if arguments.gin:
        return Path("runs") / Path(arguments.gin[-1]).stem
    raise ConfigurationError("nothing to train: name a gin file, such as --gin gin/cdrl_digits.gin")


def _config(arguments: argparse.Namespace, folder: Path) -> Config:
    """From the files named; with --resume and none named, the run's own."""
    from modules import config, runs

    if arguments.gin:
        return config.load(arguments.gin, arguments.overrides, arguments.imports)
    if not arguments.resume:
        raise ConfigurationError("nothing to train: name a gin file, such as --gin gin/cdrl_digits.gin")
    return runs.saved_config(folder, arguments.overrides, arguments.imports)


def _checkpoint(resume: str | None, folder: Path, config: Config, changes: bool) -> Path | None:
    """The checkpoint to go on from; None for a new run, whose folder must be new."""
    from modules import checkpoints, runs

    has_run = (folder / "checkpoints").is_dir()
    if resume is None:
        # under several processes the main one may have begun to write already
        if has_run and os.environ.get("RANK", "0") == "0":
            raise CheckpointError(f"{folder} holds a run already: add --resume, or --output another folder")
        return None
    path = checkpoints.latest(folder) if resume == "latest" else Path(resume)
    if not changes:
        saved = runs.saved_config(folder).text.splitlines()
        diff = [
            line
            for line in difflib.ndiff(saved, config.text.splitlines())
            if line[:2] in ("- ", "+ ") and line[2:].strip() and not line[2:].startswith("#")
        ]
        if diff:
            raise ConfigurationError(
                f"the configuration differs from that of {folder} ({'; '.join(diff[:6])}): "
                "add --allow-changes to go on all the same"
            )
    return path


def _seed(config: Config) -> int:
    try:
        seed = config.value("Trainer.seed")
    except ConfigurationError:
        return 0
    return seed if isinstance(seed, int) else 0


def description(config: Config, trainer: Trainer) -> str:
    """What --dry-run prints: the resolved configuration, parameter counts and the effective batch."""
    rows = trainer.micro_rows()
    lines = [config.resolved().rstrip(), ""]
    for name, network in trainer.method.networks().items():
        count = sum(p.numel() for p in network.parameters())
        lines.append(f"{name}: {type(network).__name__}, {count:,} parameters")
    lines.append(
        f"batch: {trainer.batch_size} = {trainer.runtime.num_processes} processes x {len(rows)} micro-batches "
        f"x {len(rows[0])}, on {trainer.runtime.device.type}, precision {trainer.runtime.precision}"
    )
    lines.append(f"steps: {trainer.num_steps:,}, {trainer.num_steps * trainer.batch_size:,} samples")
    return "\n".join(lines)
