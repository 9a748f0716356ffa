"""What gin files say: bindings, imports, references, macros, and where each stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Location:
    """Where a statement stands: a line of a file, or a text of the command line."""

    name: str
    line: int | None = None  # none on the command line

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass(frozen=True)
class Reference:
    """@scope/Name or @scope/Name(); the second form is the object that the call makes."""

    scope: str
    name: str
    called: bool

    def __str__(self) -> str:
        return f"@{self.scoped_name}{'()' if self.called else ''}"

    @property
    def scoped_name(self) -> str:
        return f"{self.scope}/{self.name}" if self.scope else self.name


@dataclass(frozen=True)
class Macro:
    """%NAME: the value that NAME is set to elsewhere."""

    name: str

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True)
class Binding:
    """`scope/name.parameter = value`; a macro `NAME = value` has no parameter and its scope in its name."""

    scope: str
    name: str
    parameter: str
    value: Any
    location: Location
    origin: str  # "command" (--set), "file" (--gin), "part" (an include), "saved" (a run's own text)

    def __str__(self) -> str:
        scoped = f"{self.scope}/{self.name}" if self.scope else self.name
        return f"{scoped}.{self.parameter}" if self.parameter else scoped

    @property
    def is_macro(self) -> bool:
        return not self.parameter


@dataclass(frozen=True)
class Import:
    """`import module` in a gin file."""

    module: str
    location: Location


@dataclass
class Statements:
    """All that the given files say, in the order in which it takes effect."""

    bindings: list[Binding] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)


def references(value: Any) -> Iterator[Reference | Macro]:
    """Every reference and macro in a value, inside lists, tuples and dicts too."""
    if isinstance(value, (Reference, Macro)):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from references(key)
            yield from references(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)
