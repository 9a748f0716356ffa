"""A training state on disk: tensors in safetensors, the rest in JSON, whole or absent.

RUN/checkpoints/step_N/ holds a .safetensors file for each group of tensors, state.json and, written last,
manifest.json with the size and SHA-256 of every other file. What makes a best step so far has a checkpoint of
its own, best_step_N, which pruning leaves alone. The files themselves: manifest.py.
"""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save as to_safetensors
from torch import Tensor

from modules.core.checks import CheckpointError, CheckpointWriteError
from modules.storage import durable
from modules.storage.manifest import (
    MANIFEST,
    SCHEMA,
    STATE,
    read_json,
    read_manifest,
    read_state,
    read_tensors,
    signed,
    versions,
    written,
)

_NAME = re.compile(r"(best_)?step_(\d+)")
_log = logging.getLogger(__name__)


def path_of(run: Path, step: int) -> Path:
    """Where the periodic checkpoint of a step lies."""
    return run / "checkpoints" / f"step_{step:08d}"


def best_path_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step that was the best so far lies."""
    return run / "checkpoints" / f"best_step_{step:08d}"


def step_of(path: Path) -> int:
    """The step in a checkpoint's name; -1 where it has another name."""
    match = _NAME.fullmatch(path.name)
    return int(match[2]) if match else -1


def of_run(run: Path) -> list[Path]:
    """A run's periodic checkpoints, the newest last; whether they are whole shows when they are loaded."""
    return _sorted(run, "step_*")


def all_of_run(run: Path) -> list[Path]:
    """A run's periodic and best checkpoints, the newest last."""
    return sorted(_sorted(run, "best_step_*") + of_run(run), key=step_of)


def best(run: Path) -> Path:
    """The checkpoint of a run's best step. Raises CheckpointError where it has none."""
    found = _sorted(run, "best_step_*")
    if not found:
        gone = _best_step(run)
        if gone is not None:
            raise CheckpointError(
                f"{run} has no best checkpoint any more: that of step {gone} was deleted; take another one"
            )
        raise CheckpointError(
            f"{run} has no best checkpoint: it was trained without samples (Trainer.sample_every = 0), or "
            "without Trainer.best"
        )
    return found[-1]


def _best_step(run: Path) -> int | None:
    """The best step so far that the newest periodic checkpoint tells of; None: it tells of none."""
    try:
        best = read_json(of_run(run)[-1] / STATE).get("best")
    except (IndexError, CheckpointError):
        return None
    return best.get("step") if isinstance(best, dict) else None


def latest(run: Path) -> Path:
    """The newest whole checkpoint of a run; the log has a line on each newer one that is broken.

    Raises:
        CheckpointError: there is none, or none is whole.
    """
    return load_latest(run)[0]


def load_latest(run: Path) -> tuple[Path, dict[str, dict[str, Tensor]], dict[str, Any]]:
    """`latest`, its tensors and its state: to know that it is whole it was read already."""
    found = sorted(all_of_run(run), key=_age)
    if not found:
        raise CheckpointError(f"{run} has no checkpoint: train it first, or name another run")
    faults: list[CheckpointError] = []
    for path in reversed(found):
        try:
            tensors, state = load(path)
        except CheckpointError as fault:
            faults.append(fault)
        else:
            for passed in faults:
                _say(f"passed over a broken checkpoint for {path.name}: {passed}")
            return path, tensors, state
    raise CheckpointError(f"{run} has no whole checkpoint; the newest: {faults[0]}")


def _age(path: Path) -> tuple[int, int]:
    """Rollbacks before the step: the best step of a way that was left is older than the way back."""
    try:
        rollbacks = read_json(path / STATE).get("rollbacks")
    except CheckpointError:  # loading says so
        rollbacks = None
    return (rollbacks if isinstance(rollbacks, int) else 0), step_of(path)


def save(path: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    """Write a checkpoint folder: files one by one, the manifest last, each on disk before one rename.

    Whatever happens in between, a checkpoint that was there before stays.

    Raises:
        CheckpointWriteError: it can't be written; nothing of it is left.
    """
    needed = sum(value.nbytes for group in tensors.values() for value in group.values())
    temporary = None
    try:
        clean(path.parent)
        temporary = durable.start_folder(path)
        files = {}
        for name, group in tensors.items():
            data = to_safetensors({k: v.detach().cpu().contiguous() for k, v in group.items()})
            files[f"{name}.safetensors"] = written(temporary / f"{name}.safetensors", data)
        text = json.dumps({"schema": SCHEMA, "groups": sorted(tensors), **state}, indent=1)
        files[STATE] = written(temporary / STATE, text.encode())
        about = {"schema": SCHEMA, "step": state["step"], "versions": versions(), "files": files}
        durable.write(temporary / MANIFEST, signed(about).encode())
        durable.finish_folder(temporary, path)
    except BaseException as fault:
        if temporary is not None:
            durable.discard(temporary)
        if not isinstance(fault, (OSError, SafetensorError)):
            raise
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        raise CheckpointWriteError(path, needed, reason) from fault


def clean(folder: Path) -> None:
    """Remove what killed writers left in a run folder or in its checkpoints; nobody may be writing there."""
    if folder.is_dir():
        durable.clean(folder)


def load(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors by group and the state of a checkpoint folder, on the CPU.

    Raises:
        CheckpointError: naming the file that is missing, cut short, changed or not what it should be.
    """
    manifest = read_manifest(path)
    state = read_state(path, manifest)
    if step_of(path) not in (-1, state["step"]):
        raise CheckpointError(
            f"{path} holds step {state['step']}: it was renamed; give it its own name again"
        )
    tensors = {name: read_tensors(path / f"{name}.safetensors") for name in state["groups"]}
    return tensors, state


def drop_after(run: Path, step: int) -> None:
    """Delete the periodic checkpoints of later steps."""
    for path in of_run(run):
        if step_of(path) > step:
            _remove(path)


def prune(run: Path, keep: int) -> None:
    """Delete all but the newest `keep` periodic checkpoints."""
    for old in of_run(run)[:-keep]:
        _remove(old)


def keep_best(run: Path, step: int) -> None:
    """Delete all best checkpoints but that of `step`."""
    for old in _sorted(run, "best_step_*"):
        if step_of(old) != step:
            _remove(old)


def _sorted(run: Path, pattern: str) -> list[Path]:
    found = (run / "checkpoints").glob(pattern)
    return sorted((path for path in found if step_of(path) >= 0), key=step_of)


def _remove(path: Path) -> None:
    try:
        durable.remove_folder(path)
    except OSError as fault:  # no reason to stop a run
        _say(f"cannot delete the old checkpoint {path}: {fault.strerror}")


def _say(line: str) -> None:
    """A line of the main process."""
    if os.environ.get("RANK", "0") == "0":
        _log.warning("%s", line)
