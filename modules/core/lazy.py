"""Names that a room hands on, each imported when it is first asked for: starting stays quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from modules.core.code import module_named


def exports(
    room: str, names: dict[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a room.

    Args:
        room: its `__name__`.
        names: of its files, each with the names that it hands on, apart by spaces.
    """
    files = {name: file for file, listed in names.items() for name in listed.split()}

    def get(name: str) -> Any:
        if name not in files:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        value = vars(module_named(f"{room}.{files[name]}"))[name]
        setattr(sys.modules[room], name, value)
        return value

    def names_of_room() -> list[str]:
        return sorted({*vars(sys.modules[room]), *files})

    return get, names_of_room, sorted(files)
