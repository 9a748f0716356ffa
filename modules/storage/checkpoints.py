"""A training state on disk: tensors in safetensors, the rest in JSON, whole or absent.

RUN/checkpoints/step_N/ holds a .safetensors file for each group of tensors, state.json and, written last,
manifest.json with the size and SHA-256 of every other file. What makes a best step so far has a checkpoint of
its own, best_step_N, which pruning leaves alone. Nothing that is read here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import stat
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from modules.core.checks import CheckpointError, CheckpointWriteError
from modules.storage import durable

SCHEMA = 2
"""1: no manifest, state.json with the schema and no best step."""

MANIFEST, STATE = "manifest.json", "state.json"
_MAX_JSON_BYTES = 16 << 20
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
        raise CheckpointError(
            f"{run} has no best checkpoint: it was trained without samples (Trainer.sample_every = 0), or "
            "without Trainer.best"
        )
    return found[-1]


def latest(run: Path) -> Path:
    """The newest whole checkpoint of a run; the log has a line on each newer one that is broken.

    Raises:
        CheckpointError: there is none, or none is whole.
    """
    found = sorted(all_of_run(run), key=_age)
    if not found:
        raise CheckpointError(f"{run} has no checkpoint: train it first, or name another run")
    faults: list[CheckpointError] = []
    for path in reversed(found):
        try:
            load(path)
        except CheckpointError as fault:
            faults.append(fault)
        else:
            for passed in faults:
                _say(f"passed over a broken checkpoint for {path.name}: {passed}")
            return path
    raise CheckpointError(f"{run} has no whole checkpoint; the newest: {faults[0]}")


def _age(path: Path) -> tuple[int, int]:
    """Rollbacks before the step: the best step of a way that was left is older than the way back."""
    try:
        rollbacks = _read_json(path / STATE).get("rollbacks")
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
            files[f"{name}.safetensors"] = _written(temporary / f"{name}.safetensors", data)
        text = json.dumps({"schema": SCHEMA, "groups": sorted(tensors), **state}, indent=1)
        files[STATE] = _written(temporary / STATE, text.encode())
        about = {"schema": SCHEMA, "step": state["step"], "versions": _versions(), "files": files}
        durable.write(temporary / MANIFEST, _signed(about).encode())
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
    manifest = _manifest(path)
    state = _state(path, manifest)
    tensors = {name: _tensors(path / f"{name}.safetensors") for name in state["groups"]}
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


def _written(path: Path, data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": durable.write(path, data)}


def _versions() -> dict[str, str]:
    names = ("torch", "safetensors", "accelerate", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def _signed(about: dict[str, Any]) -> str:
    """The manifest's text, with a checksum of the rest of it."""
    checksum = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return json.dumps({**about, "sha256": checksum}, indent=1)


def _manifest(path: Path) -> dict[str, Any] | None:
    """What the manifest says of files that are there and have these sizes and hashes; None for schema 1."""
    file = path / MANIFEST
    if not path.is_dir():
        raise CheckpointError(f"{path} is no checkpoint: there is no such folder")
    if not os.path.lexists(file):
        if not os.path.lexists(path / STATE):
            raise CheckpointError(f"{path} is no checkpoint: it has no {MANIFEST}")
        if _read_json(path / STATE).get("schema") == 1:
            return None
        raise CheckpointError(f"{file} is missing: the checkpoint is not whole")
    about = _read_json(file)
    _check_schema(file, about)
    if _signed({key: value for key, value in about.items() if key != "sha256"}).encode() != file.read_bytes():
        raise CheckpointError(f"{file} was changed after it was written")
    files = about.get("files")
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise CheckpointError(f"{file} does not list files")
    for name, entry in files.items():
        if not re.fullmatch(r"\w+\.(safetensors|json)", name):
            raise CheckpointError(f"{file} lists {name!r}, which is no file of a checkpoint")
        size = _size(path / name)
        if size != entry.get("size"):
            raise CheckpointError(f"{path / name} has {size} bytes, not the {entry.get('size')} written")
    for name, entry in files.items():
        if _hash(path / name) != entry.get("sha256"):
            raise CheckpointError(f"{path / name} was changed after it was written (SHA-256)")
    return about


def _state(path: Path, manifest: dict[str, Any] | None) -> dict[str, Any]:
    file = path / STATE
    if manifest is not None and STATE not in manifest["files"]:
        raise CheckpointError(f"{path / MANIFEST} does not list {STATE}")
    state = _read_json(file)
    if manifest is None:
        state = {**state, "best": None}
    else:
        _check_schema(file, state)
    step, groups = state.get("step"), state.get("groups")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise CheckpointError(f"{file} has no step")
    if manifest is not None and manifest.get("step") != step:
        raise CheckpointError(f"{file} is of step {step}, {MANIFEST} of step {manifest.get('step')}")
    if not isinstance(groups, list) or not all(
        isinstance(g, str) and re.fullmatch(r"\w+", g) for g in groups
    ):
        raise CheckpointError(f"{file} does not list groups of tensors")
    for name in groups:
        if manifest is not None and f"{name}.safetensors" not in manifest["files"]:
            raise CheckpointError(f"{path / MANIFEST} does not list {name}.safetensors")
    return state


def _check_schema(file: Path, about: dict[str, Any]) -> None:
    schema = about.get("schema")
    if schema != SCHEMA:
        raise CheckpointError(
            f"{file} has schema {schema!r}, not {SCHEMA}: it was written by another version of this program"
        )


def _tensors(file: Path) -> dict[str, Tensor]:
    _size(file)
    try:
        # safetensors checks the header against the file's size before it reserves anything
        with safe_open(file, framework="pt", device="cpu") as opened:
            # copies: what safetensors gives is the file, mapped
            return {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RuntimeError, MemoryError) as fault:
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise CheckpointError(f"{file} cannot be read: {reason}") from fault


def _read_json(file: Path) -> dict[str, Any]:
    if _size(file) > _MAX_JSON_BYTES:
        raise CheckpointError(
            f"{file} has more than {_MAX_JSON_BYTES:,} bytes: it is no file of a checkpoint"
        )
    try:
        found = json.loads(file.read_bytes())
    except OSError as fault:
        raise CheckpointError(f"{file} cannot be read: {fault.strerror}") from fault
    except (ValueError, RecursionError) as fault:
        raise CheckpointError(f"{file} is not valid JSON ({fault})") from fault
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} must hold a JSON object")
    return found


def _size(file: Path) -> int:
    """The size of a plain file: anything else could block, or never end."""
    try:
        about = file.stat()
    except OSError as fault:
        raise CheckpointError(f"{file} cannot be read: {fault.strerror}") from fault
    if not stat.S_ISREG(about.st_mode):
        raise CheckpointError(f"{file} is no plain file")
    return about.st_size


def _hash(file: Path) -> str:
    try:
        return durable.hash_file(file)
    except OSError as fault:
        raise CheckpointError(f"{file} cannot be read: {fault.strerror}") from fault
