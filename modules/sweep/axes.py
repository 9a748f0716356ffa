"""What `--sweep` says: axes, and the points of their grid.

    KEY=VALUE, VALUE, ...                        an axis of one binding
    NAME: KEY=VALUE; KEY=VALUE | NAME: | ...     an axis of named points, each with any number of bindings

A comma, a semicolon or a bar within brackets or quotes belongs to the value.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modules.core.checks import ConfigurationError

LONGEST = 100  # characters of a point's folder
MANY = 1000  # seeds
VARIANT = "variant"  # the title of an axis of named points

_PIECE = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|.""", re.DOTALL)
_NAME = re.compile(r"[\w.+-][\w .+-]*")


@dataclass(frozen=True)
class Choice:
    """One value of an axis: its name in the table, and the bindings it makes."""

    name: str
    bindings: tuple[str, ...]


@dataclass(frozen=True)
class Axis:
    """What varies along one `--sweep`; the title is its binding's key, or "variant"."""

    title: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Point:
    """A place in the grid: the names of its choices by axis, and all its bindings."""

    names: dict[str, str]
    bindings: tuple[str, ...]

    def __str__(self) -> str:
        named = [v if _is_variant(k) else f"{k}={v}" for k, v in self.names.items()]
        return ", ".join(named) or "as configured"

    @property
    def folder(self) -> str:
        """Its folder's name: readable, and for other points another one."""
        text = str(self).replace(", ", ",").replace(" ", "_")
        name = re.sub(r"[^\w.=+,-]+", "_", text).strip("_.")
        if name != text or len(name) > LONGEST:
            digest = hashlib.sha256(str(self).encode()).hexdigest()[:8]
            name = f"{name[: LONGEST - 9].rstrip('_.')}-{digest}"
        return name


def axes_of(texts: Sequence[str]) -> list[Axis]:
    """The axes of all `--sweep` options.

    Raises:
        ConfigurationError: a text that is none, a value or a name given twice, two axes that set one key.
    """
    axes: list[Axis] = []
    setters: dict[str, str] = {}
    for text in texts:
        axis = _axis(text, VARIANT if all(a.title != VARIANT for a in axes) else f"{VARIANT} {len(axes) + 1}")
        names = [choice.name.replace(" ", "_").casefold() for choice in axis.choices]  # as folders differ
        for choice, name in zip(axis.choices, names, strict=True):
            if names.count(name) > 1:
                raise ConfigurationError(f"{_shown(text)} has {choice.name} twice: name points differently")
        for key in {key_of(binding) for choice in axis.choices for binding in choice.bindings}:
            if key in setters:
                raise ConfigurationError(f"{_shown(text)} sets {key}, and so does {setters[key]}")
            setters[key] = _shown(text)
        axes.append(axis)
    return axes


def grid(axes: Sequence[Axis]) -> list[Point]:
    """All combinations, the last axis fastest; of no axes the one point that sets nothing."""
    points = []
    for choices in itertools.product(*(axis.choices for axis in axes)):
        names = {axis.title: choice.name for axis, choice in zip(axes, choices, strict=True)}
        points.append(Point(names, tuple(binding for choice in choices for binding in choice.bindings)))
    return points


def seeds_of(text: str | None) -> list[int | None]:
    """The seeds of `--seeds`: "3" means 0, 1, 2, and "4,7" these; None for the configured one alone."""
    if text is None:
        return [None]
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) < 2**63 for part in parts):
        raise ConfigurationError(f'--seeds {text}: give their number, such as 3, or a list, such as "4,7"')
    seeds = [int(part) for part in parts]
    if len(set(seeds)) < len(seeds):
        raise ConfigurationError(f"--seeds {text} has a seed twice")
    if "," in text:
        return list(seeds)
    if not 1 <= seeds[0] <= MANY:
        raise ConfigurationError(
            f'--seeds {text} is a number of seeds, 1 to {MANY}; for one seed write "{text},"'
        )
    return list(range(seeds[0]))


def key_of(binding: str) -> str:
    """What a binding sets."""
    return binding.partition("=")[0].strip()


def _axis(text: str, variant: str) -> Axis:
    head = text.partition("=")[0]
    if ":" in head:
        return Axis(variant, tuple(_named(part, text) for part in _split(text, "|")))
    if "=" not in text or not head.strip():
        raise ConfigurationError(
            f'{_shown(text)} is no axis: write "KEY=VALUE,VALUE" or "NAME: KEY=VALUE; KEY=VALUE | NAME:"'
        )
    key = head.strip()
    values = list(_split(text.partition("=")[2], ","))
    if not all(values):
        raise ConfigurationError(f"{_shown(text)} has an empty value: separate values by one comma")
    return Axis(key, tuple(Choice(value, (f"{key}={value}",)) for value in values))


def _named(part: str, text: str) -> Choice:
    name, colon, settings = part.partition(":")
    name = name.strip()
    if not colon or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{_shown(text)}: {part!r} is no named point: write NAME: KEY=VALUE; KEY=VALUE, "
            "with letters, digits, spaces and .+-_ in the name"
        )
    bindings = list(_split(settings, ";")) if settings.strip() else []
    if not all(key_of(binding) and "=" in binding for binding in bindings):
        raise ConfigurationError(f"{_shown(text)}: the bindings of {name} must be KEY=VALUE; KEY=VALUE")
    keys = [key_of(binding) for binding in bindings]
    if len(set(keys)) < len(keys):
        raise ConfigurationError(f"{_shown(text)}: {name} sets {max(keys, key=keys.count)} twice")
    return Choice(name, tuple(bindings))


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts between separators that stand in no brackets and no quotes."""
    depth, part = 0, ""
    for piece in _PIECE.findall(text):
        depth += (piece in "([{") - (piece in ")]}")
        if piece == separator and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += piece
    yield part.strip()


def _is_variant(title: str) -> bool:
    return title == VARIANT or title.startswith(f"{VARIANT} ")


def _shown(text: str) -> str:
    return f'--sweep "{" ".join(text.split())}"'
