"""Check every checkpoint of a run, and with --data every example of its data set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import CheckpointError, UserError
from modules.tasks import _options

if TYPE_CHECKING:
    from modules.config import Config
    from modules.data.base import Data
    from modules.training.state import Training


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of verification."""
    parser.add_argument("--data", action="store_true", help="read every example of the run's data set too")


def run(arguments: argparse.Namespace) -> int:
    """A line on each checkpoint that is sound and on each fault; 1 if there is a fault, else 0."""
    _options.need_run(arguments)

    from modules import runs
    from modules.storage import checkpoints

    folder = Path(arguments.run)
    config = runs.saved_config(folder, arguments.overrides, arguments.imports, arguments.trust_imports)
    found = checkpoints.all_of_run(folder)
    faults = [] if found else [f"{folder} has no checkpoint"]
    training, fault = _training(config)
    if fault:
        faults.append(f"{folder / runs.CONFIG}: {fault}")
    for line in faults:
        print(line)
    for path in found:
        wrong = list(_checkpoint_faults(path, training))
        print("\n".join(wrong) if wrong else f"{path}: sound")
        faults += wrong
    if arguments.data:
        for line in _data_faults(folder, config.value("Trainer.data")):
            print(line)
            faults.append(line)
    print(f"{len(found)} checkpoints{' and the data' if arguments.data else ''}: {len(faults)} faults")
    return 1 if faults else 0


def _data_faults(folder: Path, data: Data) -> Iterator[str]:
    """Examples that cannot be used, what is left out, and what differs from the first start."""
    from modules.runs.data_record import DataRecord

    broken = False
    for line in data.faults():
        broken = True
        yield line
    recorded = DataRecord.read(folder)
    if recorded is None:
        return
    try:
        changes = recorded.differences(DataRecord.of(data, data.open()))
    except UserError as fault:
        if not broken:
            yield str(fault)
    else:
        if changes:
            yield f"the data are not those that {folder} was trained on: {changes}"


def _training(config: Config) -> tuple[Training | None, UserError | None]:
    """What the configuration would train, or why it cannot be built."""
    from modules.training.state import Training

    try:
        trainer = config.build("Trainer")
        return Training(trainer.method, trainer.optimizers, trainer.ema, trainer.runtime, trainer.seed), None
    except UserError as fault:
        return None, fault


def _checkpoint_faults(path: Path, training: Training | None) -> Iterator[str]:
    """Files, hashes and schema; finite numbers; the networks, averages and optimizers that they are for."""
    import torch

    from modules.storage import checkpoints

    try:
        tensors, state = checkpoints.load(path)
    except CheckpointError as fault:
        yield str(fault)
        return
    sound = True
    for group, values in tensors.items():
        for name, value in values.items():
            try:
                bad = int((~torch.isfinite(value)).sum())
            except NotImplementedError:  # of 4 or 8 bits
                yield f"{path}: {group}/{name} is {value.dtype}, which no network here has"
                continue
            if bad:
                sound = False
                yield f"{path}: {group}/{name} has {bad:,} of {value.numel():,} values that are not finite"
    if training is not None and sound:  # it takes no such values, and would name the first of them again
        try:
            training.restore(tensors, state)
        except CheckpointError as fault:
            yield f"{path}: {fault}"
