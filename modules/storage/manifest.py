"""A checkpoint's files, and the manifest by which they are known to be whole before anything in them is used.

Nothing that is read here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import stat
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from modules.core.checks import CheckpointError
from modules.storage import durable

SCHEMA = 2
"""1: no manifest, state.json with the schema and no best step."""

MANIFEST, STATE = "manifest.json", "state.json"
_MAX_JSON_BYTES = 16 << 20


def written(path: Path, data: bytes) -> dict[str, Any]:
    """Write a file; what the manifest says of it."""
    return {"size": len(data), "sha256": durable.write(path, data)}


@cache
def versions() -> dict[str, str]:
    """Of Python and of the packages that a checkpoint depends on."""
    names = ("torch", "safetensors", "accelerate", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def signed(about: dict[str, Any]) -> str:
    """The manifest's text, with a checksum of the rest of it."""
    checksum = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return json.dumps({**about, "sha256": checksum}, indent=1)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """What the manifest says of files that are there and have these sizes and hashes; None for schema 1."""
    file = path / MANIFEST
    if not path.is_dir():
        raise CheckpointError(f"{path} is no checkpoint: there is no such folder")
    if not os.path.lexists(file):
        if not os.path.lexists(path / STATE):
            raise CheckpointError(f"{path} is no checkpoint: it has no {MANIFEST}")
        if read_json(path / STATE).get("schema") == 1:
            return None
        raise CheckpointError(f"{file} is missing: the checkpoint is not whole")
    about = read_json(file)
    _check_schema(file, about)
    if signed({key: value for key, value in about.items() if key != "sha256"}).encode() != file.read_bytes():
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


def read_state(path: Path, manifest: dict[str, Any] | None) -> dict[str, Any]:
    """state.json of a checkpoint with this manifest: a step and groups of tensors, and whatever else."""
    file = path / STATE
    if manifest is not None and STATE not in manifest["files"]:
        raise CheckpointError(f"{path / MANIFEST} does not list {STATE}")
    state = read_json(file)
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


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a group by name, on the CPU."""
    _size(file)
    try:
        # safetensors checks the header against the file's size before it reserves anything
        with safe_open(file, framework="pt", device="cpu") as opened:
            # copies: what safetensors gives is the file, mapped
            return {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RuntimeError, MemoryError) as fault:
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise CheckpointError(f"{file} cannot be read: {reason}") from fault


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object of a plain file that isn't too large."""
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
