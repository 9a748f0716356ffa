"""The configuration: gin files and overrides in, built objects out, every fault in one line.

This is the only place that uses more of gin than `@gin.register`. gin by itself keeps silent on bindings
that nothing uses, on wrong names inside references until they are called, and on macros without a value;
here every statement keeps its file and line, and every name is looked up before anything is built.

    config = load(["gin/cdrl_digits.gin"], overrides=["Langevin.num_steps=30"])
    trainer = config.build("Trainer")
    config.check_used()
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gin

from modules.core.checks import ConfigurationError, nearest

if not hasattr(gin, "register"):
    # Without gin-config, `import gin` finds the repository's folder of gin files, and succeeds.
    raise ConfigurationError("the package gin-config is not installed: pip install gin-config")

from gin import config as gin_config

from modules.config import names
from modules.config.circles import check_component_circles, check_macro_circles
from modules.config.code import check_code
from modules.config.faults import construction_fault
from modules.config.files import read_files, read_overrides, read_text
from modules.config.imports import import_components, import_user_module
from modules.config.parsing import UnquotedValue
from modules.config.paths import with_absolute_paths
from modules.config.sizes import weights_within_memory
from modules.config.statements import Binding, Macro, Reference, Statements, references
from modules.config.text import write, write_resolved
from modules.config.usage import MACRO, Usage, reached_by

_active: list[Config] = []
"""The configuration that gin's global state holds, at most one."""

_gin = threading.RLock()
"""Held by whoever reads names into gin's global state, or builds from it: threads take turns."""


def load(
    files: Sequence[str | os.PathLike[str]], overrides: Sequence[str] = (), imports: Sequence[str] = ()
) -> Config:
    """The configuration of gin files, later ones and then the overrides having the last word.

    Args:
        files: gin files, found from the working folder, the repository and the repository's gin folder.
        overrides: bindings such as "Langevin.num_steps=30".
        imports: the user's modules, as module paths or .py files, imported before names are looked up.

    Raises:
        ConfigurationError: any fault of what was given, one line with its place and the nearest right name.
    """
    try:
        statements = read_files(files)
        statements.bindings += read_overrides(overrides)
    except UnquotedValue as fault:
        raise _unquoted(fault, imports) from fault
    return _configuration(statements, imports)


def load_text(
    text: str,
    overrides: Sequence[str] = (),
    imports: Sequence[str] = (),
    name: str = "config.gin",
    trusted: bool = False,
) -> Config:
    """The configuration of a run's saved text, `Config.text`; `name` stands for it in errors.

    The text may hold no import statement: it runs no code. A run's own imports are kept beside it (see
    `Config.imports`), and whoever trusts the run passes them here as `imports`. Bindings of the text that
    nothing uses are no fault: a task builds a part of what training built. What it says is data: a path to
    code in it is refused, unless it is `trusted`.
    """
    try:
        statements = read_text(text, name)
        statements.bindings += read_overrides(overrides)
    except UnquotedValue as fault:
        raise _unquoted(fault, imports) from fault
    return _configuration(statements, imports, trusted)


def _configuration(statements: Statements, imports: Sequence[str], trusted: bool = False) -> Config:
    with _gin:
        imported = _import(imports)
        for statement in statements.imports:
            place = f"{statement.location}: import {statement.module}"
            imported.append(import_user_module(statement.module, place))
        return Config(statements.bindings, tuple(dict.fromkeys(imported)), trusted)


def _import(imports: Sequence[str]) -> list[str]:
    import_components()
    return [import_user_module(name, f"--import {name}") for name in imports]


def _unquoted(fault: UnquotedValue, imports: Sequence[str]) -> ConfigurationError:
    _import(imports)  # slow, and needed only to say which component was meant
    return names.unquoted(fault)


class Config:
    """A checked configuration, from which objects are built.

    Attributes:
        imports: the user's modules it needs, as module paths and absolute .py files.
        text: all its bindings as one gin text without imports; `load_text` reads it back.
    """

    def __init__(
        self, bindings: Sequence[Binding], imports: tuple[str, ...] = (), trusted: bool = False
    ) -> None:
        for binding in bindings:
            names.check_names(binding)
        self.imports, self._trusted = imports, trusted
        names.check_doubled(bindings)
        self._all = with_absolute_paths(bindings)
        self._effective = {names.key(binding): binding for binding in self._all}
        names.check_macros(list(self._effective.values()))
        check_macro_circles(self._effective)
        self._roots: list[tuple[str, str]] = []
        self._operative: dict[tuple[str, str], dict[str, Any]] = {}
        self.text = write(self._effective)

    def build(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """An instance of the registered class `name`, with its bindings; `arguments` win over them.

        Raises:
            UserError: a constructor refused its arguments: one line, with the place of the binding.
        """
        scope, _, component = name.rpartition("/")
        full = names.full_name(component, f"build({name!r})")
        check_component_circles((scope, full), self._effective, dict(arguments or {}))
        if not self._trusted:
            check_code([(scope, full)], self._effective)
        self._roots.append((scope, full))
        with self._active():
            return gin.get_configurable(f"{scope}/{full}" if scope else full)(**dict(arguments or {}))

    def value(self, key: str) -> Any:
        """The value bound to "Name.parameter", "scope/Name.parameter" or the macro "NAME".

        References in it are built, anew at each call. A part of what "Trainer" would build is had so without
        the rest: `config.value("Trainer.method")`.

        Raises:
            ConfigurationError: nothing is bound to `key`.
            UserError: as `build`.
        """
        name, _, parameter = key.rpartition(".")
        scope, _, component = name.rpartition("/")
        if name:
            full = names.full_name(component, f"value({key!r})")
            binding = names.nearest_binding(self._effective, scope, full, parameter)
            node = (scope, full)
        else:
            binding = self._effective.get(("", key, ""))
            node = (key, MACRO)
        if binding is None:
            known = [str(binding) for binding in self._effective.values()]
            raise ConfigurationError(f"nothing is bound to {key}.{nearest(key, known)}")
        roots = [reached_by(reference, scope, binding.location) for reference in references(binding.value)]
        for root in roots:
            self._roots.append(root)
            check_component_circles(root, self._effective, ())
        if not self._trusted:
            check_code(roots, self._effective)
        with self._active(), gin.config_scope(scope or None):
            value = _to_gin(binding.value)
            gin_config._OPERATIVE_CONFIG.setdefault(node, {})[parameter if name else "value"] = value
            return copy.deepcopy(value)

    @property
    def names_code(self) -> bool:
        """Whether it binds what becomes code: its saved text needs to be trusted, or to be told again."""
        keys = [(full, parameter) for _, full, parameter in self._effective if parameter]
        return any(parameter in names.code_parameters(full) for full, parameter in keys)

    def check_used(self) -> None:
        """Raise on the first binding that had no effect on what was built, with its place.

        A binding of a file is left alone when an override took away the component that would read it
        (replacing a sampler leaves the old one's settings idle); so are macros that included parts set for
        whoever wants them, and all that a saved text binds. What the command line sets must have an effect.
        """
        calls = {node: set(supplied) for node, supplied in self._operative.items()}
        Usage(self._all, self._effective, calls, self._roots).check()

    def resolved(self) -> str:
        """What is in effect in all that was built so far, with its places; defaults of constructors too."""
        return write_resolved(self._operative, self._effective)

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Gin's global state is this configuration's inside, and this thread's alone; what is built, noted.

        Raises:
            UserError: for what a constructor raises.
        """
        with _gin:
            self._activate()
            try:
                with weights_within_memory():
                    yield
            except Exception as error:
                raise construction_fault(error, self._effective) from error
            finally:
                self._operative = dict(gin_config._OPERATIVE_CONFIG)

    def _activate(self) -> None:
        if _active == [self]:
            return
        _active[:] = [self]
        gin.clear_config()
        for (scope, name, parameter), binding in self._effective.items():
            value = _to_gin(binding.value)
            gin.bind_parameter((scope, name, parameter) if parameter else (name, MACRO, "value"), value)
        gin_config._OPERATIVE_CONFIG.update(self._operative)


def _to_gin(value: Any) -> Any:
    """The value with gin's own references in place of the names."""
    if isinstance(value, Reference):
        return gin_config.ConfigurableReference(value.scoped_name, value.called)
    if isinstance(value, Macro):
        return gin_config.ParserDelegate().macro(value.name)
    if isinstance(value, dict):
        return {_to_gin(key): _to_gin(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_gin(item) for item in value)
    return value
