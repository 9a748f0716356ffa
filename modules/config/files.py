"""Reading gin files and overrides: what they say and where, before any name in it is looked up.

Includes are followed, each file once, however many parts include it; what stands above an include that sets
it again is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from gin import config_parser

from modules.config.parsing import DEEPEST, binding_of, parse
from modules.config.statements import Binding, Import, Location, Statements
from modules.core.checks import ConfigurationError, nearest
from modules.core.code import RECIPES


def read_files(files: Sequence[str | os.PathLike[str]]) -> Statements:
    """The statements of `files` and of all they include; a later file overrides an earlier one."""
    statements = Statements()
    seen: set[Path] = set()
    for name in files:
        path = _find(os.fspath(name), [Path.cwd(), RECIPES, RECIPES / "gin"])
        if path is None:
            raise ConfigurationError(f"--gin {name}: no such file.{_nearest_file(os.fspath(name))}")
        if path not in seen:
            _read_file(path, "file", statements, seen, open_files=())
    return statements


def read_text(text: str, name: str) -> Statements:
    """The statements of a run's saved text, which stands alone: neither imports nor includes are followed."""
    statements = Statements()
    for statement in parse(text, name):
        location = Location(name, statement.location.line_num)
        if isinstance(statement, config_parser.ImportStatement):
            raise ConfigurationError(
                f"{location}: import {statement.module}: a saved configuration runs no code; remove the line "
                f"and, if you trust the module, give --import {statement.module}"
            )
        if isinstance(statement, config_parser.IncludeStatement):
            raise ConfigurationError(f"{location}: a saved configuration includes no other file")
        if isinstance(statement, config_parser.BindingStatement):
            statements.bindings.append(binding_of(statement, location, "saved"))
    return statements


def read_overrides(overrides: Sequence[str]) -> list[Binding]:
    """The bindings of the command line, `--set "Name.parameter=value"` each."""
    bindings = []
    for text in overrides:
        name = f'--set "{_one_line(text)}"'
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            example = key.strip() or "Name.parameter"
            raise ConfigurationError(f'{name} lacks a name or "=": write --set "{example}=VALUE"')
        if not value.strip():
            raise ConfigurationError(f'{name} lacks a value: write --set "{key.strip()}=VALUE"')
        parsed = list(parse(text, name, numbered=False))
        if len(parsed) != 1 or not isinstance(parsed[0], config_parser.BindingStatement):
            raise ConfigurationError(f'{name} must be one binding: write --set "Name.parameter=value"')
        bindings.append(binding_of(parsed[0], Location(name), "command"))
    return bindings


def shown(path: Path) -> str:
    """A path as a person would write it: from the working folder or the repository, else in full."""
    for base in (Path.cwd(), RECIPES):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def _read_file(
    path: Path, origin: str, statements: Statements, seen: set[Path], open_files: tuple[Path, ...]
) -> None:
    """Append what `path` says to `statements`; a file already read says nothing new."""
    seen.add(path)
    name = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name}: not readable as a gin file: {_one_line(str(error))}") from error
    own: list[Binding] = []
    for statement in parse(text, name):
        location = Location(name, statement.location.line_num)
        if isinstance(statement, config_parser.BindingStatement):
            binding = binding_of(statement, location, origin)
            own.append(binding)
            statements.bindings.append(binding)
        elif isinstance(statement, config_parser.ImportStatement):
            if statement.module.startswith("__gin__"):
                raise ConfigurationError(
                    f"{location}: dynamic registration is not supported: put @gin.register on the class"
                )
            statements.imports.append(Import(statement.module, location))
        elif isinstance(statement, config_parser.IncludeStatement):
            target = _find(statement.filename, [path.parent, RECIPES, RECIPES / "gin", Path.cwd()])
            if target is None:
                hint = _nearest_file(statement.filename)
                raise ConfigurationError(f"{location}: include {statement.filename!r}: no such file.{hint}")
            if target in (*open_files, path):
                raise ConfigurationError(f"{location}: include {statement.filename!r} goes in a circle")
            if len(open_files) > DEEPEST:
                raise ConfigurationError(f"{location}: more than {DEEPEST} files that include each other")
            if target not in seen:
                start = len(statements.bindings)
                _read_file(target, "part", statements, seen, (*open_files, path))
                _check_overwritten(own, statements.bindings[start:], location)


def _check_overwritten(own: Sequence[Binding], included: Sequence[Binding], include: Location) -> None:
    """Raise where a file sets a parameter above an include that sets it again: it would have no effect."""
    new = {str(binding): binding for binding in included}
    for binding in own:
        if str(binding) in new:
            raise ConfigurationError(
                f"{binding.location}: {binding} is overwritten by {new[str(binding)].location}, which line "
                f"{include.line} includes: write it below the include"
            )


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    """The file called `name` in the first of `folders` that has it."""
    for folder in folders:
        try:
            path = folder / Path(name).expanduser()
            if path.is_file():
                return path.resolve()
        except (OSError, RuntimeError):  # too long a name, no such user
            return None
    return None


def _nearest_file(name: str) -> str:
    """' Did you mean X?' for the nearest gin file of the repository or beside the wanted one."""
    folder = RECIPES / "gin"
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.gin"))}
    beside = Path(name).parent
    if beside.is_dir():
        found.update({str(path): path for path in sorted(beside.glob("*.gin")) if path.is_file()})
    names = {}
    for short, path in found.items():
        names.update({short: path, f"gin/{short}": path, path.name: path, path.stem: path})
    hint = nearest(name, list(names))
    wanted = re.search(r"'(.*)'", hint)
    return f" Did you mean {shown(names[wanted.group(1)])!r}?" if wanted else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
