"""A training state on disk: tensors in safetensors, the rest in JSON, complete or absent."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from modules.checks import CheckpointError

SCHEMA = 1


def path_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"step_{step:08d}"


def of_run(run: Path) -> list[Path]:
    """A run's checkpoints, the newest last."""
    return sorted((run / "checkpoints").glob("step_*"))


def save(path: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    """Write a checkpoint folder: one .safetensors file per group, state.json last, then one rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, group in tensors.items():
            save_file(
                {k: v.detach().cpu().contiguous() for k, v in group.items()},
                temporary / f"{name}.safetensors",
            )
        text = json.dumps({"schema": SCHEMA, "groups": sorted(tensors), **state}, indent=1)
        (temporary / "state.json").write_text(text)
        for file in temporary.iterdir():
            _sync(file)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as fault:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else fault
        raise CheckpointError(f"cannot write checkpoint {path}: {reason}") from fault


def load(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors by group and the state of a checkpoint folder, on the CPU."""
    state_file = path / "state.json"
    if not state_file.is_file():
        raise CheckpointError(f"{path} is no checkpoint: it has no state.json")
    try:
        state = json.loads(state_file.read_text())
    except ValueError as fault:
        raise CheckpointError(f"{state_file} is not valid JSON ({fault})") from fault
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise CheckpointError(f"{state_file} has not schema {SCHEMA}: it was written by another version")
    tensors = {}
    for name in state["groups"]:
        file = path / f"{name}.safetensors"
        try:
            tensors[name] = load_file(file)
        except (OSError, SafetensorError) as fault:
            raise CheckpointError(f"{file} cannot be read: {str(fault).splitlines()[0]}") from fault
    return tensors, state


def latest(run: Path) -> Path:
    """The newest checkpoint of a run."""
    found = of_run(run)
    if not found:
        raise CheckpointError(f"{run} has no checkpoint: train it first, or name another run")
    return found[-1]


def prune(run: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for old in of_run(run)[:-keep]:
        shutil.rmtree(old)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
