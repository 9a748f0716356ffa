"""How a value was measured: the part of it that a stranger needs to measure it again."""

from __future__ import annotations

import inspect
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn

from modules.core.arguments import arguments_of
from modules.core.checks import in_short
from modules.core.fingerprints import code_of, digest, is_the_projects


def described(component: Any) -> Any:
    """A component as JSON: its class and its constructor's arguments, and theirs.

    An argument is read from where the class keeps it, see `arguments_of`. Of a class that isn't the
    project's, `code` is the hash of its file: its name says less.

    Raises:
        ConfigurationError: a class that keeps an argument nowhere, so that two settings would read alike.
    """
    if component is None or isinstance(component, (bool, int, float, str)):
        return component
    if isinstance(component, (list, tuple)):
        return [described(item) for item in component]
    if isinstance(component, dict):
        return {str(key): described(value) for key, value in component.items()}
    kind = type(component)
    if isinstance(component, (PurePath, torch.dtype, torch.device)):
        return str(component)
    if isinstance(component, type) or inspect.isroutine(component):
        return f"{component.__module__}.{component.__qualname__}"
    if isinstance(component, (Tensor, nn.Module)):  # what is in it counts, however it was made
        return {"class": kind.__name__, "sha256": _digest(component)}
    found: dict[str, Any] = {"class": kind.__name__}
    if not is_the_projects(kind):
        found["code"] = code_of([kind])
    why = "values measured by it don't say it"
    found |= {name: described(value) for name, value in arguments_of(component, why).items()}
    return found


def named(component: object) -> str:
    """A component in a few words: its class, and the arguments that aren't its constructor's own values."""
    kind = type(component)
    given = arguments_of(component, "nobody knows what it was made with")
    usual = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    said = [
        f"{name}={in_short(value)}"
        for name, value in given.items()
        if name == "num_steps" or described(value) != described(usual[name])
    ]
    return f"{kind.__name__}({', '.join(said)})"


def _digest(values: Tensor | nn.Module) -> str:
    parts = values.state_dict() if isinstance(values, nn.Module) else {"": values}
    return digest({name: value for name, value in parts.items() if isinstance(value, Tensor)})[:16]
