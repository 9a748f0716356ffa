"""Looking up the names in a configuration: components, their parameters, macros; the nearest right one."""

from __future__ import annotations

import inspect
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from gin import config as gin_config

from modules.config.parsing import UnquotedValue
from modules.config.statements import Binding, Location, Macro, Reference, references
from modules.core.checks import ConfigurationError, nearest

REQUIRED = "gin.REQUIRED"

Key = tuple[str, str, str]
"""Scope, full name of the component, parameter; a macro is ("", NAME, "")."""


def components() -> dict[str, list[str]]:
    """Short name -> full names of everything that is registered, gin's own parts left out."""
    found: dict[str, list[str]] = {}
    for full, _ in gin_config._REGISTRY.items():
        if not full.startswith("gin."):
            found.setdefault(full.rpartition(".")[2], []).append(full)
    return found


def full_name(name: str, place: Location | str) -> str:
    """The full registered name that `name` stands for; raises if there is none, or more than one."""
    matches = gin_config._REGISTRY.matching_selectors(name)
    if len(matches) == 1:
        return str(matches[0])
    if matches:
        listed = ", ".join(sorted(matches))
        raise ConfigurationError(f"{place}: {name} may be any of {listed}: write the name in full")
    hint = _unregistered(name.rpartition(".")[2]) or _nearest_component(name)
    raise ConfigurationError(f"{place}: nothing is registered as {name!r}.{hint}")


def _unregistered(name: str) -> str:
    """' my.py defines it ...' where a module of the user's that is imported defines such a class, else ''."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        library = any(part in file for part in ("-packages", sysconfig.get_paths()["stdlib"]))
        found = getattr(module, "__dict__", {}).get(name)
        if file and not library and isinstance(found, type) and found.__module__ == module.__name__:
            return f" {Path(file).name} defines it without @gin.register: put that above the class"
    return ""


def short_name(full: str) -> str:
    """The name as written in a gin file, as short as it can be without doubt."""
    return str(gin_config._REGISTRY.minimal_selector(full))


def parameters(full: str) -> list[str] | None:
    """The parameters of a registered class or function; None if it takes any."""
    try:
        signature = inspect.signature(gin_config._REGISTRY[full].wrapped)
    except (ValueError, TypeError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return None
    return [name for name, p in signature.parameters.items() if p.kind is not p.VAR_POSITIONAL]


def code_parameters(full: str) -> tuple[str, ...]:
    """Those parameters of a registered class whose values become code, as the class says itself."""
    found = None if full.startswith("gin.") else gin_config._REGISTRY[full].wrapped
    return getattr(found, "code_parameters", ())


def is_subclass(full: str, base: str) -> bool:
    """Whether a registered class is another's subclass, and not it."""
    one, other = (gin_config._REGISTRY[name].wrapped for name in (full, base))
    both = isinstance(one, type) and isinstance(other, type)
    return both and one is not other and issubclass(one, other)


def path_parameters(full: str) -> tuple[str, ...]:
    """Those parameters of a registered class that take paths of files, as the class says itself."""
    found = None if full.startswith("gin.") else gin_config._REGISTRY[full].wrapped
    return getattr(found, "path_parameters", ())


def key(binding: Binding) -> Key:
    """What identifies the parameter: two bindings of one key override each other."""
    if binding.is_macro:
        return ("", binding.name, "")
    return (binding.scope, full_name(binding.name, binding.location), binding.parameter)


def outward(scope: str) -> list[str]:
    """The scopes that a call in `scope` reads, the nearest first: "a/b" gives "a/b", "a", ""."""
    parts = scope.split("/") if scope else []
    return ["/".join(parts[:n]) for n in range(len(parts), -1, -1)]


def nearest_binding(
    effective: Mapping[Key, Binding], scope: str, full: str, parameter: str
) -> Binding | None:
    """The binding that a call of `full` in `scope` reads for `parameter`: that of the nearest scope."""
    found = (effective.get((outer, full, parameter)) for outer in outward(scope))
    return next((binding for binding in found if binding is not None), None)


def behind_macros(binding: Binding, effective: Mapping[Key, Binding]) -> Binding:
    """The binding that gives the value: `binding` itself, or the macro that it reads."""
    while isinstance(binding.value, Macro) and ("", binding.value.name, "") in effective:
        binding = effective["", binding.value.name, ""]
    return binding


def is_required(value: object) -> bool:
    """Whether `value` is %gin.REQUIRED: a gap that the file which includes this one must fill."""
    return isinstance(value, Macro) and value.name == REQUIRED


def check_names(binding: Binding) -> None:
    """Raise unless the component, its parameter and every @reference in the value are known."""
    if binding.is_macro:
        _check_macro_name(binding)
    else:
        full = full_name(binding.name, binding.location)
        known = parameters(full)
        if known is not None and binding.parameter not in known:
            hint = nearest(binding.parameter, known) or f" It takes {', '.join(known) or 'none'}."
            raise ConfigurationError(
                f"{binding.location}: {binding.name} has no parameter {binding.parameter!r}.{hint}"
            )
    for reference in references(binding.value):
        if isinstance(reference, Reference):
            full_name(reference.name, f"{binding.location}: {binding} = {reference}")
    if isinstance(binding.value, str):
        _check_quoted(binding)


def check_doubled(bindings: Sequence[Binding]) -> None:
    """Raise where one file sets one parameter twice, under whatever name."""
    first: dict[tuple[str, Key], Binding] = {}
    for binding in bindings:
        earlier = first.setdefault((binding.location.name, key(binding)), binding)
        if earlier is not binding and binding.location.line is not None:
            raise ConfigurationError(
                f"{binding.location}: {binding} is set twice, already on line {earlier.location.line}: "
                f"remove one of the two"
            )


def check_macros(bindings: Sequence[Binding]) -> None:
    """Raise on a macro that is read and not set: unknown, or left as %gin.REQUIRED."""
    macros = {binding.name: binding for binding in bindings if binding.is_macro}
    for binding in bindings:
        if is_required(binding.value) and binding.is_macro:
            continue  # a fault only where it is read
        for macro in references(binding.value):
            if is_required(macro):
                raise ConfigurationError(_must_be_set(binding))
            if not isinstance(macro, Macro) or gin_config._CONSTANTS.matching_selectors(macro.name):
                continue
            if macro.name not in macros:
                hint = nearest(macro.name, list(macros))
                raise ConfigurationError(
                    f"{binding.location}: {binding} reads {macro}, which is set nowhere.{hint}"
                )
            if is_required(macros[macro.name].value):
                raise ConfigurationError(_must_be_set(macros[macro.name]))


def unquoted(fault: UnquotedValue) -> ConfigurationError:
    """The fault of a bare word as a value, with the reference that was probably meant."""
    known = components()
    if fault.word == fault.word.upper() and fault.word[0].isalpha():
        return ConfigurationError(
            f"{fault.location}: {fault.word} is no value: write %{fault.word} for the macro, "
            f'"{fault.word}" for a string'
        )
    if fault.word in known:
        return ConfigurationError(
            f"{fault.location}: {fault.word} is no value: write @{fault.word}() for an instance of it"
        )
    hint = nearest(fault.word, [*known, "True", "False", "None"])
    return ConfigurationError(f"{fault}, macros a %, components an @.{hint}")


def component_hint(value: object) -> str:
    """' Did you mean @Name()?' where a string is the name of a component, else an empty string."""
    if not isinstance(value, str):
        return ""
    name = value.strip().removeprefix("@").removesuffix("()")
    return f" Did you mean @{name}(), without quotes?" if name.rpartition("/")[2] in components() else ""


def _check_macro_name(binding: Binding) -> None:
    name = binding.name.rpartition("/")[2]
    if name in components():
        raise ConfigurationError(
            f"{binding.location}: {name} is a component: bind a parameter of it, {name}.parameter = value"
        )
    if name != name.upper():
        owners = [
            short for short, fulls in components().items() for f in fulls if name in (parameters(f) or [])
        ]
        meant = f"{sorted(owners)[0]}.{name}" if owners else f"Component.{name}"
        raise ConfigurationError(
            f"{binding.location}: {name} stands alone: write {meant} for a parameter, "
            f"{name.upper()} for a macro"
        )


def _check_quoted(binding: Binding) -> None:
    """A reference inside quotes would reach the component as a string."""
    value = binding.value
    name = value.strip().lstrip("@").removesuffix("()").rpartition("/")[2]
    if value.startswith(("@", "%")) or (value.endswith("()") and name in components()):
        raise ConfigurationError(
            f"{binding.location}: {binding} is the string {value!r}: write "
            f"{value if value[0] in '@%' else '@' + value} without quotes"
        )


def _must_be_set(binding: Binding) -> str:
    return (
        f'{binding.location}: {binding} must be set: add "{binding} = ..." below the include, '
        f'or give --set "{binding}=..."'
    )


def _nearest_component(name: str) -> str:
    return nearest(name.rpartition(".")[2], list(components()))
