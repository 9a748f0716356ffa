"""How a value was measured: the part of it that a stranger needs to measure it again."""

from __future__ import annotations

import inspect
from typing import Any


def described(component: Any) -> Any:
    """A component as JSON: its class and the constructor's arguments that it keeps, and theirs."""
    if component is None or isinstance(component, (bool, int, float, str)):
        return component
    if isinstance(component, (list, tuple)):
        return [described(item) for item in component]
    if isinstance(component, dict):
        return {str(key): described(value) for key, value in component.items()}
    kind = type(component)
    kept = [name for name in inspect.signature(kind).parameters if hasattr(component, name)]
    return {"class": kind.__name__, **{name: described(getattr(component, name)) for name in kept}}
