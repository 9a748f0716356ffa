"""Errors meant for the user, in one line, and the checks constructors make of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class UserError(Exception):
    """A fault in what the user gave. Its message is one line: the culprit, then the remedy."""


class ConfigurationError(UserError, ValueError):
    """A fault in the configuration: gin files, overrides or constructor arguments."""


class DataError(UserError):
    """A fault in a data set: its place, its columns, its images or its labels."""


class CheckpointError(UserError):
    """A fault in a run folder or a checkpoint."""


class CheckpointWriteError(CheckpointError):
    """A checkpoint that cannot be written.

    Attributes:
        path: where it was to lie. bytes_needed: of its tensors.
    """

    def __init__(self, path: Path, bytes_needed: int, reason: str) -> None:
        self.path, self.bytes_needed = path, bytes_needed
        super().__init__(f"cannot write checkpoint {path}: {reason}; it needs about {bytes_needed:,} bytes")


def nearest(name: str, names: Sequence[str]) -> str:
    """' Did you mean X?' for the nearest of `names`, or an empty string."""
    found = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def check_instance(name: str, value: Any, kind: type | tuple[type, ...]) -> None:
    """Raise unless `value` is an instance of `kind`; a class given for an instance gets its own line."""
    if isinstance(value, kind):
        return
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if callable(value) and hasattr(value, "__name__"):
        raise _class_for_instance(name, value.__name__)
    raise ConfigurationError(f"{name} must be {' or '.join(k.__name__ for k in kinds)}, got {value!r}")


def check_callable(name: str, value: Any) -> None:
    """Raise unless `value` is an object that can be called; a class is not one."""
    if isinstance(value, type):
        raise _class_for_instance(name, value.__name__)
    if not callable(value):
        raise ConfigurationError(f"{name} must be something to be called, got {value!r}")


def _class_for_instance(name: str, given: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is the class {given}, where an instance is meant: write @{given}()")


def check_number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Raise unless `value` is a number with low <= value <= high and above < value < below."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{name} must be a number, got {value!r}")
    _check_range(name, value, low, high, above)
    if below is not None and not value < below:
        raise ConfigurationError(f"{name} must be below {below}, got {value!r}")


def check_integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> None:
    """Raise unless `value` is an integer with low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{name} must be an integer, got {value!r}")
    _check_range(name, value, low, high, None)


def _check_range(name: str, value: float, low: float | None, high: float | None, above: float | None) -> None:
    if low is not None and not value >= low:
        raise ConfigurationError(f"{name} must be at least {low}, got {value!r}")
    if high is not None and not value <= high:
        raise ConfigurationError(f"{name} must be at most {high}, got {value!r}")
    if above is not None and not value > above:
        raise ConfigurationError(f"{name} must be above {above}, got {value!r}")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        hint = nearest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
        listed = ", ".join(repr(c) for c in choices)
        raise ConfigurationError(f"{name} must be one of {listed}, got {value!r}.{hint}")


def check_bool(name: str, value: Any) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, got {value!r}")


def check_shape(name: str, shape: Any) -> tuple[int, ...]:
    """A sample's shape as a tuple: (channels, height, width) of an image or (dimension,) of a point."""
    if (
        not isinstance(shape, (tuple, list))
        or len(shape) not in (1, 3)
        or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape)
    ):
        raise ConfigurationError(f"{name} must be (channels, height, width) or (dimension,), got {shape!r}")
    return tuple(shape)
