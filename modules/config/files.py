"""Reading gin files: what each statement says and where it stands, before any name in it is looked up.

gin's own parser reads the statements; here they keep their file and line, includes are followed (each
file once, however many parts include it) and overrides that stand above an include are an error.
"""

from __future__ import annotations

import os
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gin import config_parser

from modules.core.checks import ConfigurationError, nearest

REPOSITORY = Path(__file__).resolve().parents[2]
DEEPEST = 50  # lists within lists of a value, includes within includes


@dataclass(frozen=True)
class Location:
    """Where a statement stands: a line of a file, or a text of the command line."""

    name: str
    line: int | None = None  # none on the command line

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass(frozen=True)
class Reference:
    """@scope/Name or @scope/Name(); the second form is the object that the call makes."""

    scope: str
    name: str
    called: bool

    def __str__(self) -> str:
        return f"@{self.scoped_name}{'()' if self.called else ''}"

    @property
    def scoped_name(self) -> str:
        return f"{self.scope}/{self.name}" if self.scope else self.name


@dataclass(frozen=True)
class Macro:
    """%NAME: the value that NAME is set to elsewhere."""

    name: str

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True)
class Binding:
    """`scope/name.parameter = value`; a macro `NAME = value` has no parameter and its scope in its name."""

    scope: str
    name: str
    parameter: str
    value: Any
    location: Location
    origin: str  # "command" (--set), "file" (--gin), "part" (an include), "saved" (a run's own text)

    def __str__(self) -> str:
        scoped = f"{self.scope}/{self.name}" if self.scope else self.name
        return f"{scoped}.{self.parameter}" if self.parameter else scoped

    @property
    def is_macro(self) -> bool:
        return not self.parameter


@dataclass(frozen=True)
class Import:
    """`import module` in a gin file."""

    module: str
    location: Location


@dataclass
class Statements:
    """All that the given files say, in the order in which it takes effect."""

    bindings: list[Binding] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)


def references(value: Any) -> Iterator[Reference | Macro]:
    """Every reference and macro in a value, inside lists, tuples and dicts too."""
    if isinstance(value, (Reference, Macro)):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from references(key)
            yield from references(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)


def read_files(files: Sequence[str | os.PathLike[str]]) -> Statements:
    """The statements of `files` and of all they include; a later file overrides an earlier one."""
    statements = Statements()
    seen: set[Path] = set()
    for name in files:
        path = _find(os.fspath(name), [Path.cwd(), REPOSITORY, REPOSITORY / "gin"])
        if path is None:
            raise ConfigurationError(f"--gin {name}: no such file.{_nearest_file(os.fspath(name))}")
        if path not in seen:
            _read_file(path, "file", statements, seen, open_files=())
    return statements


def read_text(text: str, name: str) -> Statements:
    """The statements of a run's saved text, which stands alone: neither imports nor includes are followed."""
    statements = Statements()
    for statement in _parse(text, name):
        location = Location(name, statement.location.line_num)
        if isinstance(statement, config_parser.ImportStatement):
            raise ConfigurationError(
                f"{location}: import {statement.module}: a saved configuration runs no code; remove the line "
                f"and, if you trust the module, give --import {statement.module}"
            )
        if isinstance(statement, config_parser.IncludeStatement):
            raise ConfigurationError(f"{location}: a saved configuration includes no other file")
        if isinstance(statement, config_parser.BindingStatement):
            statements.bindings.append(_binding(statement, location, "saved"))
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
        parsed = list(_parse(text, name, numbered=False))
        if len(parsed) != 1 or not isinstance(parsed[0], config_parser.BindingStatement):
            raise ConfigurationError(f'{name} must be one binding: write --set "Name.parameter=value"')
        bindings.append(_binding(parsed[0], Location(name), "command"))
    return bindings


def shown(path: Path) -> str:
    """A path as a person would write it: from the working folder or the repository, else in full."""
    for base in (Path.cwd(), REPOSITORY):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


class _Delegate(config_parser.ParserDelegate):
    """Keeps references as they are written: names are looked up later, when everything is imported."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, name = scoped_configurable_name.rpartition("/")
        return Reference(scope, name, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


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
    for statement in _parse(text, name):
        location = Location(name, statement.location.line_num)
        if isinstance(statement, config_parser.BindingStatement):
            binding = _binding(statement, location, origin)
            own.append(binding)
            statements.bindings.append(binding)
        elif isinstance(statement, config_parser.ImportStatement):
            if statement.module.startswith("__gin__"):
                raise ConfigurationError(
                    f"{location}: dynamic registration is not supported: put @gin.register on the class"
                )
            statements.imports.append(Import(statement.module, location))
        elif isinstance(statement, config_parser.IncludeStatement):
            target = _find(statement.filename, [path.parent, REPOSITORY, REPOSITORY / "gin", Path.cwd()])
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


def _binding(statement: config_parser.BindingStatement, location: Location, origin: str) -> Binding:
    scope, name, parameter, value, _ = statement
    if not parameter and scope:
        scope, name = "", f"{scope}/{name}"
    return Binding(scope, name, parameter, value, location, origin)


def _parse(text: str, name: str, numbered: bool = True) -> Iterator[Any]:
    """gin's statements of `text`; what its parser refuses becomes one line with the statement's place."""
    line = 1
    try:
        parser = config_parser.ConfigParser(text, _Delegate())
        while True:
            line = parser.current_token.start[0]
            statement = parser.parse_statement()
            if statement is None:
                return
            if isinstance(statement, config_parser.BindingStatement):
                _check_depth(statement.value)
            yield statement
    except (SyntaxError, tokenize.TokenError) as error:
        raise _syntax_fault(error, text, name, line if numbered else None) from error
    except (RecursionError, TypeError, ValueError) as error:  # the latter from a list as a key, a byte 0
        deep = isinstance(error, RecursionError)
        message = f"more than {DEEPEST} lists within each other" if deep else str(error)
        place = Location(name, _first_line(text, line) if numbered else None)
        raise ConfigurationError(f"{place}: {message}") from error


def _first_line(text: str, line: int) -> int:
    """The first line from `line` on that holds more than a comment."""
    lines = text.splitlines()
    while line < len(lines) and not lines[line - 1].split("#")[0].strip():
        line += 1
    return line


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        for key, item in value.items():
            _check_depth(key, depth + 1)
            _check_depth(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_depth(item, depth + 1)


def _syntax_fault(
    error: SyntaxError | tokenize.TokenError, text: str, name: str, line: int | None
) -> ConfigurationError:
    lines = text.splitlines()
    if isinstance(error, tokenize.TokenError):
        # The tokenizer gave up at the end of the text; the reader looks for where it began.
        line = None if line is None else _first_line(text, line)
        message = "a bracket or a string that starts here is not closed"
    else:
        message = (error.msg or "it is not gin").split("\n")[0].strip().rstrip(".")
        if line is not None and error.lineno:
            line = error.lineno
        token = re.search(r"Failed to parse token '(.*)'", error.msg or "", re.DOTALL)
        if token:
            return UnquotedValue(Location(name, line), token.group(1)[:100])
    content = lines[line - 1].strip()[:100] if line is not None and line <= len(lines) else ""
    return ConfigurationError(f"{Location(name, line)}: {message}" + (f": {content}" if content else ""))


class UnquotedValue(ConfigurationError):
    """A bare word where a value is meant: a reference without @, a macro without %, or a lone string."""

    def __init__(self, location: Location, word: str) -> None:
        self.location, self.word = location, word
        super().__init__(f'{location}: {word} is no value: strings need quotes: "{word}"')


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
    folder = REPOSITORY / "gin"
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
