"""What a component was made with."""

from __future__ import annotations

import inspect
from typing import Any

from modules.core.checks import ConfigurationError


def arguments_of(component: object, why: str) -> dict[str, Any]:
    """The constructor's arguments by name, as they are now: a run may have set one since.

    An argument is read from the attribute of its name, from the one that the class's `kept_as` names for it,
    or from the dictionary `settings` of what is kept for this alone, such as the sizes of a network.

    Args:
        why: what goes wrong otherwise, in a few words.

    Raises:
        ConfigurationError: a class that keeps an argument nowhere.
    """
    kind, found = type(component), dict[str, Any]()
    settings = getattr(component, "settings", None)
    for name, parameter in inspect.signature(kind).parameters.items():
        place = getattr(kind, "kept_as", {}).get(name, name)
        open_ended = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if isinstance(settings, dict) and name in settings:
            found[name] = settings[name]
        elif hasattr(component, place) and not open_ended:
            found[name] = getattr(component, place)
        else:
            raise ConfigurationError(
                f"{kind.__name__} keeps its argument {name!r} nowhere, so that {why}: set self.{name} = "
                f'{name}, or name its attribute, kept_as = {{"{name}": "..."}}'
            )
    return found
