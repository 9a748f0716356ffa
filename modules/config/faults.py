"""What a constructor refused, as one line with the place of the binding that gave it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modules.config import names
from modules.config.sizes import is_too_large
from modules.config.statements import Binding, Location, Reference, references
from modules.core import checks
from modules.core.checks import ConfigurationError, UserError, in_short

_CALL = re.compile(r"\n\s*In call to configurable '([\w.]+)' \(.*?\)(?: in scope '([\w./]*)')?(?=\n|$)", re.S)
_UNSET = re.compile(r"No values supplied by Gin or caller for arguments: \[(.*?)\]")
_MISSING = re.compile(r"missing \d+ required .*?arguments?: (.*)")


def construction_fault(error: Exception, effective: Mapping[names.Key, Binding]) -> UserError:
    """The one-line error for an exception from a call that gin made.

    gin appends a line for each call on the way; the first names the component whose constructor refused.
    An error of ours keeps its class; any other exception becomes a ConfigurationError with its class named.
    """
    text = str(error)
    message = " ".join(
        re.split(r"\n\s*(?:In call to configurable|No values supplied by Gin)", text)[0].split()
    )
    call = _CALL.search(text)
    component, scope = (call.group(1), call.group(2) or "") if call else ("", "")
    finder = _Finder(effective, component, scope)

    unset = _unset_parameters(error, text)
    if component and unset:
        listed = " and ".join(f"{component}.{name}" for name in unset)
        return ConfigurationError(f"{_prefix(finder.caller())}{listed} must be set: nothing binds it")

    if component and is_too_large(error):
        largest = finder.largest()
        fault = f"{component} is too large for this machine's memory"
        if largest is None:
            return ConfigurationError(f"{_prefix(finder.caller())}{fault}")
        source = names.behind_macros(largest, effective)
        return ConfigurationError(
            f"{source.location}: {fault}: lower {source}, which is {in_short(source.value)}"
        )

    if isinstance(error, UserError):
        kind = next(c for c in type(error).__mro__ if vars(checks).get(c.__name__) is c)
        binding = finder.named_in(message)
        if binding is None:
            own = bool(component) and message.startswith(f"{component}.")
            return kind(f"{_prefix(finder.caller()) if own else ''}{message}")
        return kind(finder.located(binding, message))

    binding = finder.named_in(message)
    whole = (
        f"{component}: {type(error).__name__}: {message}"
        if component
        else f"{type(error).__name__}: {message}"
    )
    if binding is not None:
        return ConfigurationError(finder.located(binding, whole))
    return ConfigurationError(f"{_prefix(finder.caller())}{whole}")


class _Finder:
    """Finds the bindings behind a call of `component` in `scope`."""

    def __init__(self, effective: Mapping[names.Key, Binding], component: str, scope: str) -> None:
        self._effective = effective
        self._component, self._scope = component, scope

    def named_in(self, message: str) -> Binding | None:
        """The binding of the parameter with which the message begins: `Component.parameter ...`."""
        match = re.match(r"(?:([\w./]+)\.)?(\w+)\b", message)
        if not match:
            return None
        component = (match.group(1) or self._component).rpartition(".")[2]
        parameter = match.group(2)
        found = [
            binding
            for (_, full, name), binding in self._effective.items()
            if name == parameter and full.rpartition(".")[2] == component
        ]
        near = [b for b in found if not b.scope or f"{self._scope}/".startswith(f"{b.scope}/")]
        return max(near or found, key=lambda b: len(b.scope), default=None)

    def largest(self) -> Binding | None:
        """The binding of the component that holds the largest number."""
        sized = [
            (_largest_integer(names.behind_macros(binding, self._effective).value), binding)
            for (scope, full, _), binding in self._effective.items()
            if full.rpartition(".")[2] == self._component and scope in names.outward(self._scope)
        ]
        number, binding = max(sized, key=lambda pair: pair[0], default=(0, None))
        return binding if number > 0 else None

    def caller(self) -> Location | None:
        """Where the component is referenced."""
        found = [
            (reference.scope == self._scope, binding.location)
            for binding in self._effective.values()
            for reference in references(binding.value)
            if isinstance(reference, Reference) and reference.name.rpartition(".")[2] == self._component
        ]
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def located(self, binding: Binding, message: str) -> str:
        """The message with the place of the value, behind macros, and a hint if it names a component."""
        source = names.behind_macros(binding, self._effective)
        through = f" (from {source.name})" if source is not binding else ""
        binding = source
        hint = names.component_hint(binding.value)
        stop = "." if hint and not message.endswith((".", "?")) else ""
        return f"{binding.location}: {message}{through}{stop}{hint}"


def _largest_integer(value: Any) -> int:
    """The largest integer in a value, inside lists too; 0 without any."""
    if isinstance(value, (list, tuple)):
        return max(map(_largest_integer, value), default=0)
    return value if isinstance(value, int) else 0


def _unset_parameters(error: Exception, text: str) -> list[str]:
    """The parameters without a value, if that is why the call failed."""
    if not isinstance(error, TypeError):
        return []
    first = re.split(r"\n\s*In call to configurable", text)[0]
    match = _UNSET.search(first) or (_MISSING.search(first) if "__init__()" in first else None)
    return re.findall(r"'(\w+)'", match.group(1)) if match else []


def _prefix(location: Location | None) -> str:
    return f"{location}: " if location else ""
