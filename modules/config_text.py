"""A configuration as one gin text: every binding in effect, sorted, without includes and imports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modules import config_names as names
from modules.config_files import Binding, Macro, Reference

WIDTH = 100


def write(effective: Mapping[names.Key, Binding]) -> str:
    """The text: macros first, then each component's parameters; dictionaries keep their order."""
    blocks: dict[str, list[str]] = {}
    for (scope, full, parameter), binding in effective.items():
        owner = names.short_name(full) if parameter else ""
        scoped = f"{scope}/{owner}" if scope else owner
        left = f"{scoped}.{parameter}" if parameter else full
        blocks.setdefault(scoped, []).append(f"{left} = {_value(binding.value, len(left) + 3, '')}")
    return "\n\n".join("\n".join(sorted(blocks[name])) for name in sorted(blocks)) + "\n"


def _value(value: Any, column: int, indent: str) -> str:
    """The value as gin reads it, over several lines where one would be too long."""
    line = _literal(value)
    if column + len(line) <= WIDTH or not isinstance(value, (dict, list, tuple)) or not value:
        return line
    inner = indent + "    "
    if isinstance(value, dict):
        items = [
            f"{_literal(k)}: {_value(v, len(inner) + len(_literal(k)) + 3, inner)}" for k, v in value.items()
        ]
    else:
        items = [_value(item, len(inner) + 1, inner) for item in value]
    opening, closing = {dict: ("{", "}"), list: ("[", "]"), tuple: ("(", ")")}[type(value)]
    return opening + "\n" + "".join(f"{inner}{item},\n" for item in items) + indent + closing


def _literal(value: Any) -> str:
    if isinstance(value, (Reference, Macro)):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_literal, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"  # gin has no word for infinity
    return repr(value)
