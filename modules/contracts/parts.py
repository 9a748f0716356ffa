"""Of what components a component is made, and which of them are a user's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from modules.core.fingerprints import is_the_projects


def is_own(component: object) -> bool:
    """Whether a component's class is a user's own."""
    return not is_the_projects(type(component))


def own_modules(component: nn.Module) -> list[nn.Module]:
    """The modules in it that are a user's own, or another library's: neither the project's nor torch's."""
    return [m for m in component.modules() if is_own(m) and not type(m).__module__.startswith("torch.")]


def name_of_own(component: nn.Module) -> str:
    """Its class, or that of the user's module in it."""
    name, own = type(component).__name__, own_modules(component)
    return name if is_own(component) or not own else f"{type(own[0]).__name__} (in {name})"


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
