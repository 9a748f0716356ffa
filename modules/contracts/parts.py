"""Of what components a component is made, and which of them are a user's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from modules.core.fingerprints import is_the_projects


def is_own(component: object) -> bool:
    """Whether a component's class is a user's own."""
    return not is_the_projects(type(component))


def parts(component: object) -> Iterator[Any]:
    """The component and all it holds whose classes are the project's, or derive from one of the project's."""
    seen: set[int] = set()
    waiting: list[object] = [component]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, type):
            continue
        seen.add(id(part))
        if isinstance(part, (list, tuple)):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, nn.Module) or any(is_the_projects(kind) for kind in type(part).__mro__):
            yield part
            waiting += vars(part).values() if hasattr(part, "__dict__") else ()
