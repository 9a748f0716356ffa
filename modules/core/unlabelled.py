"""Classes that know no labels need not take any."""

from __future__ import annotations

import inspect
from typing import Any

from modules.core.checks import ConfigurationError


def accept_no_label(kind: type, name: str, base: type) -> None:
    """Let a class whose own function `name` takes no `label` be called with one, as that of `base` is.

    With labels it is refused: one of an object whose `num_classes` is above 0 must take them.
    """
    function = vars(kind).get(name)
    if not inspect.isfunction(function):
        return
    taken = list(inspect.signature(function).parameters.values())[1:]
    wanted = inspect.signature(vars(base)[name])
    positional = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in taken)
    if not positional or len(taken) != len(wanted.parameters) - 2 or any(p.name == "label" for p in taken):
        return

    def unlabelled(self: Any, *given: Any, label: Any = None) -> Any:
        if self.num_classes:
            raise ConfigurationError(
                f"{kind.__name__}.{name} takes no label, and its num_classes is {self.num_classes}: add "
                "label=None to it, or set num_classes = 0"
            )
        return function(self, *given[: len(taken)])

    unlabelled.__name__, unlabelled.__qualname__ = function.__name__, function.__qualname__
    unlabelled.__module__, unlabelled.__doc__ = function.__module__, function.__doc__
    unlabelled.__signature__ = wanted  # type: ignore[attr-defined]
    setattr(kind, name, unlabelled)
