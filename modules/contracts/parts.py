"""Of what components a component is made, and which of them are a user's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn


def of_the_house(kind: type) -> bool:
    """Whether the project defines the class: the tests keep its contracts."""
    return kind.__module__.partition(".")[0] == "modules"


def is_own(component: object) -> bool:
    """Whether a component's class is a user's own."""
    return not of_the_house(type(component))


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
        elif isinstance(part, nn.Module) or any(of_the_house(kind) for kind in type(part).__mro__):
            yield part
            waiting += vars(part).values() if hasattr(part, "__dict__") else ()
