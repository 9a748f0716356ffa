"""How a value was measured: the part of it that a stranger needs to measure it again."""

from __future__ import annotations

import inspect
from typing import Any

from modules.core.fingerprints import code_of, is_the_projects


def described(component: Any) -> Any:
    """A component as JSON: its class and the constructor's arguments that it keeps, and theirs.

    Of a class that isn't the project's, `code` is the hash of its file: its name says less.
    """
    if component is None or isinstance(component, (bool, int, float, str)):
        return component
    if isinstance(component, (list, tuple)):
        return [described(item) for item in component]
    if isinstance(component, dict):
        return {str(key): described(value) for key, value in component.items()}
    kind = type(component)
    kept = [name for name in inspect.signature(kind).parameters if hasattr(component, name)]
    code = {} if is_the_projects(kind) else {"code": code_of([kind])}
    return {"class": kind.__name__, **code, **{name: described(getattr(component, name)) for name in kept}}
