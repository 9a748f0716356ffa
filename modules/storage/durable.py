"""Files and folders that are on disk whole or not at all, whatever stops the writer in between.

Everything is written beside its place under a name of our own, brought to the disk (fsync) and then renamed,
and the folder that holds the name is brought to the disk too. What a killed writer leaves behind has a name
that `leftovers` finds and nobody else takes for a result.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

_CHUNK = 4 << 20  # bytes: a chunk is hashed while the processor's cache holds it
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<kind>unfinished|replaced)")


def write(path: Path, data: bytes) -> str:
    """Write a new file and bring it to the disk; the SHA-256 of its bytes, computed on the way."""
    digest, view = hashlib.sha256(), memoryview(data)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for start in range(0, len(view), _CHUNK):
            chunk = view[start : start + _CHUNK]
            digest.update(chunk)
            while chunk:  # a write may take a part only
                chunk = chunk[os.write(handle, chunk) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def replace_file(path: Path, content: str | bytes) -> None:
    """Give a file a new content; a reader or a crash finds the old one or the new one. Raises OSError."""
    temporary = _beside(path, "unfinished")
    discard(temporary)
    try:
        write(temporary, content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except BaseException:
        discard(temporary)
        raise
    sync_folder(path.parent)


def start_folder(path: Path) -> Path:
    """An empty folder beside `path`, to be filled and then given its name by `finish_folder`."""
    missing = [p for p in (path.parent, *path.parent.parents) if not p.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        sync_folder(parent.parent)
    temporary = _beside(path, "unfinished")
    discard(temporary)
    os.mkdir(temporary)
    return temporary


def finish_folder(temporary: Path, path: Path) -> None:
    """Give a filled folder its name, in place of a folder that may have it.

    A folder can't be renamed over another, so an old one first steps aside; if the new one can't follow, or
    the process dies in between, the old one comes back, now or by `clean`.
    """
    sync_folder(temporary)
    aside = _beside(path, "replaced")
    if path.exists():
        os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except BaseException:
        if aside.exists():
            os.rename(aside, path)
        raise
    sync_folder(path.parent)  # where this fails, the old one stays aside until the next save
    discard(aside)


def remove_folder(path: Path) -> None:
    """Delete a folder such that a crash leaves no half of it under its name. Raises OSError."""
    going = _beside(path, "unfinished")
    discard(going)
    os.rename(path, going)
    shutil.rmtree(going)


def leftovers(folder: Path) -> list[Path]:
    """What killed writers left in a folder."""
    return sorted(path for path in folder.glob(".*") if _LEFTOVER.fullmatch(path.name))


def clean(folder: Path) -> None:
    """Remove what killed writers left in a folder in which nobody writes now.

    A folder that had stepped aside for one that never came is given its name back.
    """
    for path in leftovers(folder):
        match = _LEFTOVER.fullmatch(path.name)
        assert match is not None
        place = path.with_name(match["name"])
        if match["kind"] == "replaced" and not place.exists():
            os.rename(path, place)
        else:
            discard(path)


def discard(path: Path) -> None:
    """Delete a temporary file or folder, where there is one, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        try:
            path.unlink()
        except OSError:
            return  # it stays under a name that nobody reads


def sync_folder(path: Path) -> None:
    """Bring a folder's names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")
