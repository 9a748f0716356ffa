"""Which bindings had an effect, from the calls gin made; and why one that had none may be left alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from modules.config import names
from modules.config.statements import Binding, Location, Macro, Reference, references
from modules.core.checks import ConfigurationError, nearest

Node = tuple[str, str]
"""A call: the scope it is made in, and the full name of the component (or the name of the macro)."""

MACRO = "gin.macro"


class Usage:
    """The bindings of a configuration against the calls that building made.

    Args:
        all_bindings: every binding given, overridden ones included.
        effective: the last binding of each key.
        calls: scope and full name -> the parameters that gin or the defaults supplied.
        roots: scope and full name of what was built.
    """

    def __init__(
        self,
        all_bindings: Sequence[Binding],
        effective: Mapping[names.Key, Binding],
        calls: Mapping[Node, Iterable[str]],
        roots: Sequence[Node],
    ) -> None:
        self._effective = effective
        self._calls = calls
        self._used = self._find_used()
        self._reached = _reached(roots, list(effective.values()), nearest_scope=True)
        self._once_reached = _reached(roots, all_bindings, nearest_scope=False)

    def check(self) -> None:
        """Raise on the first binding without effect, unless an override took away what would read it."""
        idle = [b for b in self._effective.values() if b.origin != "saved" and not self._is_used(b)]
        faults = [b for b in idle if not self._is_excused(b)]
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise ConfigurationError(f"{faults[0].location}: {self._reason(faults[0])}{more}")

    def _find_used(self) -> set[names.Key]:
        """Of the bindings that a call may read, gin takes the one with the longest matching scope."""
        used: set[names.Key] = set()
        for (scope, full), supplied in self._calls.items():
            if full == MACRO:
                used.add(("", scope, ""))
                continue
            for parameter in supplied:
                binding = names.nearest_binding(self._effective, scope, full, parameter)
                if binding is not None:
                    used.add(names.key(binding))
        return used

    def _is_used(self, binding: Binding) -> bool:
        return names.key(binding) in self._used

    def _is_excused(self, binding: Binding) -> bool:
        if binding.is_macro:
            # Parts set knobs such as the shape of their data for whoever wants them.
            return binding.origin == "part" or (
                binding.origin == "file" and self._read_by_overridden(binding)
            )
        if binding.origin == "command":
            return False
        scope, full, _ = names.key(binding)
        nearer = self._nearer(binding)
        if nearer is not None:
            return nearer.location.name != binding.location.name
        if self._heir(binding) is not None:
            return False
        return _covers(self._once_reached, scope, full) and not _covers(self._reached, scope, full)

    def _heir(self, binding: Binding) -> str | None:
        """The subclass that is built in the place of a binding's class, and takes the parameter unbound."""
        _, full, parameter = names.key(binding)
        for scope, other in self._calls:
            if other == MACRO or not names.is_subclass(other, full):
                continue
            bound = names.nearest_binding(self._effective, scope, other, parameter)
            if bound is None and parameter in (names.parameters(other) or ()):
                return names.short_name(other)
        return None

    def _read_by_overridden(self, macro: Binding) -> bool:
        return _covers(self._once_reached, macro.name, MACRO) and not _covers(
            self._reached, macro.name, MACRO
        )

    def _nearer(self, binding: Binding) -> Binding | None:
        """The binding of the same parameter in an inner scope that is read in its place."""
        scope, full, parameter = names.key(binding)
        for inner, other, name in self._used:
            if (other, name) == (full, parameter) and inner != scope and scope in names.outward(inner):
                return self._effective[inner, other, name]
        return None

    def _reason(self, binding: Binding) -> str:
        if binding.is_macro:
            read = sorted(scope for scope, full in self._calls if full == MACRO)
            hint = nearest(binding.name, [name for name in read if name != binding.name])
            return f"{binding} is set, but nothing reads it.{hint}"
        nearer = self._nearer(binding)
        if nearer is not None:
            return f"{binding} has no effect: {nearer} at {nearer.location} is nearer to every use"
        scope, full, parameter = names.key(binding)
        heir = self._heir(binding)
        if heir is not None:
            return (
                f"{binding} has no effect: {heir} is built in the place of its base {binding.name}, and "
                f"takes {parameter} too: bind {heir}.{parameter}"
            )
        scopes = sorted({s for s, name in self._calls if name == full})
        if not scopes:
            built = sorted({names.short_name(name) for _, name in self._calls if not name.startswith("gin.")})
            hint = nearest(binding.name, built)
            return f"{binding} is never used: no {binding.name} is built.{hint}"
        if scope and not any(scope in names.outward(s) for s in scopes):
            hint = nearest(scope, [s for s in scopes if s])
            return f"{binding} is never used: no {binding.name} is built in the scope {scope!r}.{hint}"
        return f"{binding} is never used: whoever builds {binding.name} gives {parameter} itself"


def _reached(roots: Sequence[Node], bindings: Sequence[Binding], nearest_scope: bool) -> set[Node]:
    """The calls that building the roots may lead to, following every reference in `bindings`.

    With `nearest_scope` a binding is left out where another of an inner scope is read in its place.
    """
    macros: dict[str, list[Binding]] = {}
    owned: dict[str, list[Binding]] = {}
    for binding in bindings:
        if binding.is_macro:
            macros.setdefault(binding.name, []).append(binding)
        else:
            owned.setdefault(names.key(binding)[1], []).append(binding)
    found: set[Node] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found.add(node)
        scope, full = node
        if full == MACRO:
            read = macros.get(scope, [])
        else:
            read = [b for b in owned.get(full, []) if b.scope in names.outward(scope)]
            if nearest_scope:
                read.sort(key=lambda b: len(b.scope))
                read = list({b.parameter: b for b in read}.values())
        for binding in read:
            for reference in references(binding.value):
                waiting.append(reached_by(reference, scope, binding.location))
    return found


def reached_by(reference: Reference | Macro, scope: str, place: Location) -> Node:
    """The call that a reference makes when it is read in `scope`; an unscoped one keeps the scope."""
    if isinstance(reference, Macro):
        return reference.name, MACRO
    return reference.scope or scope, names.full_name(reference.name, place)


def _covers(nodes: set[Node], scope: str, full: str) -> bool:
    """Whether a binding of `full` in `scope` would be read by one of the calls."""
    if full == MACRO:
        return (scope, MACRO) in nodes
    return any(name == full and scope in names.outward(inner) for inner, name in nodes)
