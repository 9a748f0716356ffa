"""Methods of a user's class take what the base's take."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from modules.contracts.parts import is_own, parts
from modules.core.checks import ConfigurationError
from modules.core.fingerprints import is_the_projects


def check_signatures(component: object) -> None:
    """Raise where a method of a user's class, here or in a part, can't be called as its base's is.

    Raises:
        ConfigurationError: naming class and method, what it takes and what it must take.
    """
    for part in parts(component):
        if is_own(part):
            for name, base in _overridden(type(part)):
                _check(part, name, base)


def _overridden(kind: type) -> Iterator[tuple[str, type]]:
    """Public functions of the project's classes that a user's subclass defines anew, and whose they were."""
    seen: set[str] = set()
    for owner in kind.__mro__:
        for name, value in vars(owner).items():
            public = name == "__call__" or not name.startswith("_")
            if name in seen or not public or not inspect.isfunction(value):
                continue
            bases = [b for b in kind.__mro__ if is_the_projects(b) and inspect.isfunction(vars(b).get(name))]
            if not is_the_projects(owner) and bases:
                seen.add(name)
                yield name, bases[0]


def _check(part: object, name: str, base: type) -> None:
    mine = inspect.signature(getattr(part, name))
    wanted = inspect.signature(vars(base)[name])
    wanted = wanted.replace(parameters=list(wanted.parameters.values())[1:])  # without self
    listed = list(wanted.parameters.values())
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in listed):
        return
    needed = [p for p in listed if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    rest = [p for p in listed if p not in needed]
    in_turn = [p for p in listed if p.kind is not p.KEYWORD_ONLY]
    only_named = {p.name: None for p in listed if p.kind is p.KEYWORD_ONLY}
    try:
        mine.bind(*in_turn, **only_named)
        mine.bind(*needed, **{p.name: None for p in rest})
    except TypeError as fault:
        plain = "(" + ", ".join(str(p.replace(annotation=p.empty)) for p in mine.parameters.values()) + ")"
        must = "(" + ", ".join(str(p.replace(annotation=p.empty)) for p in listed) + ")"
        raise ConfigurationError(
            f"{type(part).__name__}.{name} takes {plain}, must take {must}, as {base.__name__} says"
        ) from fault
