"""What a saved text says is data: none of its words reaches a parameter that becomes code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modules.config import names
from modules.config.statements import Binding, Macro, references
from modules.config.usage import MACRO, Node, reached_by
from modules.core.checks import ConfigurationError, in_short


def check_code(roots: Iterable[Node], effective: Mapping[names.Key, Binding]) -> None:
    """Raise where building the roots may make a component to whose code a saved text has given the words.

    Scopes are left out of account: a binding counts in whichever scope it may be read.

    Args:
        roots: the calls, as scope and full name.
        effective: the last binding of each key.
    """
    seen: set[Node] = set()
    waiting = list(roots)
    while waiting:
        scope, full = waiting.pop()
        node = (scope if full == MACRO else "", full)
        if node in seen:
            continue
        seen.add(node)
        for binding in _bindings(node, effective):
            if binding.parameter in names.code_parameters(full):
                _check_typed(binding, effective)
            for reference in references(binding.value):
                waiting.append(reached_by(reference, "", binding.location))


def _bindings(node: Node, effective: Mapping[names.Key, Binding]) -> Iterator[Binding]:
    """All that a macro, or a component in any scope, may read."""
    scope, full = node
    for (_, name, parameter), binding in effective.items():
        if name == (scope if full == MACRO else full) and bool(parameter) == (full != MACRO):
            yield binding


def _check_typed(binding: Binding, effective: Mapping[names.Key, Binding]) -> None:
    """Raise where a saved text gives the value, or a macro in it."""
    waiting, seen = [binding], {id(binding)}
    while waiting:
        source = waiting.pop()
        if source.origin == "saved" and not isinstance(source.value, Macro):
            through = f" (from {source.name})" if source is not binding else ""
            raise ConfigurationError(
                f"{source.location}: {binding} = {in_short(source.value)}{through} would be run as code, and "
                f'nobody typed it in this command: give it by --set "{binding}=...", or --trust-imports to '
                "run what the folder names"
            )
        for reference in references(source.value):
            macro = effective.get(("", reference.name, "")) if isinstance(reference, Macro) else None
            if macro is not None and id(macro) not in seen:
                seen.add(id(macro))
                waiting.append(macro)
