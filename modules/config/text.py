"""A configuration as one gin text: what is bound, without includes and imports; what is in effect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from modules.config import names
from modules.config.statements import Binding, Macro, Reference

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


def write_resolved(
    calls: Mapping[tuple[str, str], Mapping[str, Any]], effective: Mapping[names.Key, Binding]
) -> str:
    """The parameters of all calls, macros replaced by their values, each with the place it comes from.

    Args:
        calls: scope and full name -> the parameters that gin or the constructor's defaults supplied.
        effective: the bindings in effect.
    """
    blocks = []
    for scope, full in sorted(calls, key=lambda call: (names.short_name(call[1]), call[0])):
        if full.startswith("gin."):
            continue
        owner = f"{scope}/{names.short_name(full)}" if scope else names.short_name(full)
        lines = []
        for parameter in sorted(calls[scope, full]):
            binding = names.nearest_binding(effective, scope, full, parameter)
            value = calls[scope, full][parameter] if binding is None else binding.value
            left = f"{owner}.{parameter}"
            text = f"{left} = {_value(_without_macros(value, effective), len(left) + 3, '')}"
            place = "default" if binding is None else str(names.behind_macros(binding, effective).location)
            lines.append(f"{text}  # {place}")
        blocks.append("\n".join(lines) if lines else f"# {owner}: nothing to set")
    return "\n\n".join(blocks) + "\n"


def _without_macros(value: Any, effective: Mapping[names.Key, Binding]) -> Any:
    if isinstance(value, Macro) and ("", value.name, "") in effective:
        return _without_macros(effective["", value.name, ""].value, effective)
    if isinstance(value, dict):
        return {key: _without_macros(item, effective) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_macros(item, effective) for item in value)
    return value


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
