"""A fault of a component in one line: its class, what it gave, what it must give."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, UserError, in_short, one_line

_HOUSE = Path(__file__).resolve().parents[1]
_LIBRARIES = ("site-packages", "dist-packages", "<", sysconfig.get_paths()["stdlib"])


def told(who: str, gave: str, must: str) -> ConfigurationError:
    """The fault of a component: who "Class" or "Class.method"."""
    return ConfigurationError(f"{who} gave {gave}, must give {must}")


def what(value: Any) -> str:
    """A value as a fault says it: a tensor by its shape and dtype."""
    if isinstance(value, Tensor):
        return f"{shape(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return in_short(value)


def shape(sizes: Any) -> str:
    """(2, 3) of sizes."""
    return str(tuple(sizes))


def check_tensor(who: str, value: Any, sizes: tuple[int, ...], dtype: torch.dtype | None = None) -> None:
    """Raise unless `value` is a tensor of these sizes, of `dtype` or, without one, of floating numbers."""
    kind = "floating" if dtype is None else str(dtype).removeprefix("torch.")
    if (
        not isinstance(value, Tensor)
        or tuple(value.shape) != sizes
        or (value.dtype != dtype if dtype else not value.is_floating_point())
    ):
        raise told(who, what(value), f"{shape(sizes)} {kind}")


def check_finite(who: str, value: Tensor) -> None:
    """Raise where a tensor holds a NaN or an infinity."""
    if bad := int((~value.isfinite()).sum()):
        raise told(who, f"{bad} of {value.numel()} values that are not finite", "finite ones")


@contextmanager
def calling() -> Iterator[None]:
    """Whatever a user's code raises inside becomes one line that names its class, function, file and line.

    What the project's own code raises stays as it is.
    """
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as fault:
        where = _place(fault.__traceback__)
        if where is None:
            raise
        raise ConfigurationError(f"{where}: {type(fault).__name__}: {one_line(fault)}") from fault


def _place(trace: TracebackType | None) -> str | None:
    """Class.function (file:line) of the innermost frame that is neither the project's nor a library's."""
    found = None
    for frame, line in traceback.walk_tb(trace):
        file = frame.f_code.co_filename
        if file.startswith(str(_HOUSE)) or any(part in file for part in _LIBRARIES):
            continue
        owner = frame.f_locals.get("self")
        name = frame.f_code.co_name if owner is None else f"{type(owner).__name__}.{frame.f_code.co_name}"
        found = f"{name} ({Path(file).name}:{line})"
    return found
