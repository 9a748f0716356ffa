"""Errors meant for the user, in one line, and the checks constructors make of their arguments."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_LONGEST = 1000  # characters of a message


class UserError(Exception):
    """A fault that the user can mend. Its message is one line: the culprit, then the remedy."""

    exit_code = 2


class ConfigurationError(UserError, ValueError):
    """A fault in the configuration: gin files, overrides or constructor arguments."""


class DataError(UserError):
    """A fault in a data set: its place, its columns, its images or its labels."""


class CheckpointError(UserError):
    """A fault in a run folder or a checkpoint."""


class DivergenceError(UserError):
    """Training diverged, and the run's guard allows no more; to be started again with other settings."""

    exit_code = 3


class PeerError(UserError):
    """Another process of the run died or stopped answering; to be started again as it is."""

    exit_code = 75  # EX_TEMPFAIL


class CheckpointWriteError(CheckpointError):
    """A checkpoint that cannot be written.

    Attributes:
        path: where it was to lie. bytes_needed: of its tensors.
    """

    def __init__(self, path: Path, bytes_needed: int, reason: str) -> None:
        self.path, self.bytes_needed = path, bytes_needed
        super().__init__(f"cannot write checkpoint {path}: {reason}; it needs about {bytes_needed:,} bytes")


def one_line(error: BaseException) -> str:
    """An error's message as one printable line; a very long one loses its middle, not its place or remedy."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 300]} ... {text[-295:]}"


def in_short(value: Any) -> str:
    """A value as a message shows it: in short, an object by its class."""
    plain = value is None or isinstance(value, (bool, int, float, str, list, tuple, dict, set, bytes))
    if not plain:
        return (
            f"the class {value.__name__}" if isinstance(value, type) else f"an object {type(value).__name__}"
        )
    text = " ".join(repr(value).splitlines())  # tensors in a list have several
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


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
    raise ConfigurationError(
        f"{name} must be {' or '.join(k.__name__ for k in kinds)}, got {in_short(value)}"
    )


def check_callable(name: str, value: Any) -> None:
    """Raise unless `value` is an object that can be called; a class is not one."""
    if isinstance(value, type):
        raise _class_for_instance(name, value.__name__)
    if not callable(value):
        raise ConfigurationError(f"{name} must be something to be called, got {in_short(value)}")


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
    """Raise unless `value` is a finite number with low <= value <= high and above < value < below."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{name} must be a number, got {in_short(value)}")
    if not -sys.float_info.max <= value <= sys.float_info.max:
        raise ConfigurationError(f"{name} must be finite, got {in_short(value)}")
    _check_range(name, value, low, high, above)
    if below is not None and not value < below:
        raise ConfigurationError(f"{name} must be below {below}, got {in_short(value)}")


def check_integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> None:
    """Raise unless `value` is an integer of 64 bits with low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{name} must be an integer, got {in_short(value)}")
    if not -(2**63) <= value < 2**63:
        raise ConfigurationError(f"{name} must be an integer of at most 64 bits, got {in_short(value)}")
    _check_range(name, value, low, high, None)


def _check_range(name: str, value: float, low: float | None, high: float | None, above: float | None) -> None:
    if low is not None and not value >= low:
        raise ConfigurationError(f"{name} must be at least {low}, got {in_short(value)}")
    if high is not None and not value <= high:
        raise ConfigurationError(f"{name} must be at most {high}, got {in_short(value)}")
    if above is not None and not value > above:
        raise ConfigurationError(f"{name} must be above {above}, got {in_short(value)}")


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        hint = nearest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
        listed = ", ".join(repr(c) for c in choices)
        raise ConfigurationError(f"{name} must be one of {listed}, got {in_short(value)}.{hint}")


Check = Callable[[str, Any], None]
"""What raises a ConfigurationError that names a value, unless the value is right."""


def optional(check: Check) -> Check:
    """The check, which None passes too."""

    def of_some(name: str, value: Any) -> None:
        if value is not None:
            check(name, value)

    return of_some


def check_attributes(thing: object, checks: Mapping[str, Check]) -> None:
    """Make of each attribute named the check beside it; messages name it Class.attribute."""
    for name, check in checks.items():
        check(f"{type(thing).__name__}.{name}", getattr(thing, name))


def check_compiler(name: str) -> None:
    """Raise where torch.compile, asked for by the setting called `name`, could build nothing.

    Raises:
        ConfigurationError: there is neither a GPU nor a C++ compiler.
    """
    import torch

    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if shutil.which(compiler) is None and not torch.cuda.is_available():
        raise ConfigurationError(
            f"{name} needs a C++ compiler on a CPU, and there is no {compiler!r}: install one, name yours in "
            f"the environment variable CXX, or leave {name} out"
        )


def check_bool(name: str, value: Any) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, got {in_short(value)}")


def check_shape(name: str, shape: Any) -> tuple[int, ...]:
    """A sample's shape as a tuple: (channels, height, width) of an image or (dimension,) of a point."""
    if (
        not isinstance(shape, (tuple, list))
        or len(shape) not in (1, 3)
        or not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31 for n in shape)
    ):
        raise ConfigurationError(
            f"{name} must be (channels, height, width) or (dimension,), got {in_short(shape)}"
        )
    return tuple(shape)
