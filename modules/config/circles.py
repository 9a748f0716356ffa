"""Circles: a macro that reads itself, a component made of itself; gin would run in them till it broke."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from modules.config import names
from modules.config.statements import Binding, Macro, references
from modules.config.usage import MACRO, Node, reached_by
from modules.core.checks import ConfigurationError


def check_macro_circles(effective: Mapping[names.Key, Binding]) -> None:
    """Raise on the first macro whose value is made of itself, whether or not it is read."""
    for _, name, parameter in effective:
        if not parameter:
            _check((name, MACRO), effective, ())


def check_component_circles(
    root: Node, effective: Mapping[names.Key, Binding], given: Collection[str]
) -> None:
    """Raise where building `root` would build it or a part of it again and again.

    Args:
        root: the call, as scope and full name.
        effective: the last binding of each key.
        given: parameters of the root that the caller supplies: their bindings are not read.
    """
    _check(root, effective, given)


def _check(root: Node, effective: Mapping[names.Key, Binding], given: Collection[str]) -> None:
    """Depth first, without recursion: a chain of macros may be longer than Python's stack."""
    path = {root: None}  # in order
    waiting = [_calls(root, effective, given)]
    done: set[Node] = set()
    while path:
        step = next(waiting[-1], None)
        if step is None:
            done.add(path.popitem()[0])
            waiting.pop()
            continue
        binding, node = step
        if node in path:
            what = node[0] if node[1] == MACRO else names.short_name(node[1])
            raise ConfigurationError(
                f"{binding.location}: {binding} goes in a circle, back to {what}: give it another value"
            )
        if node not in done:
            path[node] = None
            waiting.append(_calls(node, effective, ()))


def _calls(
    node: Node, effective: Mapping[names.Key, Binding], given: Collection[str]
) -> Iterator[tuple[Binding, Node]]:
    """What a call of `node` calls, with the binding that says so; a class without () is not called."""
    scope, full = node
    if full == MACRO:
        macro = effective.get(("", scope, ""))
        read = [] if macro is None else [macro]
    else:
        parameters = sorted({key[2] for key in effective if key[1] == full and key[2] not in given})
        found = (names.nearest_binding(effective, scope, full, parameter) for parameter in parameters)
        read = [binding for binding in found if binding is not None]
    for binding in read:
        for reference in references(binding.value):
            if isinstance(reference, Macro) or reference.called:
                yield binding, reached_by(reference, scope, binding.location)
