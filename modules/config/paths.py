"""Paths of files in a configuration: absolute from the first start on, wherever they are used later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modules.config import names
from modules.config.statements import Binding, Macro


def with_absolute_paths(bindings: Sequence[Binding]) -> list[Binding]:
    """The bindings, with paths that lead somewhere from the working folder made absolute.

    Which parameters take paths their classes say (`path_parameters`). What leads nowhere stays as it is: it
    may be a name on the Hub, or will be refused where it is read.
    """
    takers = [b for b in bindings if b.parameter and b.parameter in names.path_parameters(names.key(b)[1])]
    macros: set[str] = set()
    waiting = takers
    while waiting:
        found = {b.value.name for b in waiting if isinstance(b.value, Macro)} - macros
        macros |= found
        waiting = [b for b in bindings if b.is_macro and b.name in found]
    wanted = {id(b) for b in takers} | {id(b) for b in bindings if b.is_macro and b.name in macros}
    return [replace(b, value=_absolute(b.value)) if id(b) in wanted else b for b in bindings]


def _absolute(value: object) -> object:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return value
    path = Path(value).expanduser()
    try:
        return str(path.absolute()) if path.exists() else value
    except OSError:  # a name that is too long
        return value
