"""The order of names in which digits count as numbers: 2 before 10, cat9 before cat10."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"([0-9]+)")


def by_number(name: str) -> tuple[list[str | int], str]:
    """A key to sort names by; of names that differ only in leading zeros the text decides."""
    parts: list[str | int] = list(_NUMBER.split(name))  # text at even places, digits at odd ones
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, name
