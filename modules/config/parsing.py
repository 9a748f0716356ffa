"""From a text to gin's statements, by gin's own parser; what it refuses is one line with its place."""

from __future__ import annotations

import re
import tokenize
import unicodedata
from collections.abc import Iterator
from typing import Any

from gin import config_parser

from modules.config.statements import Binding, Location, Macro, Reference
from modules.core.checks import ConfigurationError

DEEPEST = 50  # lists within lists of a value, includes within includes


class UnquotedValue(ConfigurationError):
    """A bare word where a value is meant: a reference without @, a macro without %, or a lone string."""

    def __init__(self, location: Location, word: str) -> None:
        self.location, self.word = location, word
        super().__init__(f'{location}: {word} is no value: strings need quotes: "{word}"')


class _Delegate(config_parser.ParserDelegate):
    """Keeps references as they are written: names are looked up later, when everything is imported."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, name = scoped_configurable_name.rpartition("/")
        return Reference(scope, name, evaluate)

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)


def binding_of(statement: config_parser.BindingStatement, location: Location, origin: str) -> Binding:
    """The binding of one of gin's statements."""
    scope, name, parameter, value, _ = statement
    if not parameter and scope:
        scope, name = "", f"{scope}/{name}"
    return Binding(scope, name, parameter, value, location, origin)


def parse(text: str, name: str, numbered: bool = True) -> Iterator[Any]:
    """gin's statements of `text`; what its parser refuses becomes one line with the statement's place."""
    line = 1
    text = text.removeprefix("\ufeff")  # a mark of byte order, which some editors write
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


def _lookalike(text: str) -> tuple[int, str] | None:
    """Line and name of the first character that only looks like one of gin's, or can't be seen at all."""
    for number, line in enumerate(text.splitlines(), start=1):
        for character in line.split("#")[0]:
            kind = unicodedata.category(character)
            if not character.isascii() and kind in ("Zs", "Cf", "Pi", "Pf", "Pd", "Sm"):
                name = unicodedata.name(character, "a character without a name").lower()
                return number, f"there is a {name} (U+{ord(character):04X})"
    return None


def _syntax_fault(
    error: SyntaxError | tokenize.TokenError, text: str, name: str, line: int | None
) -> ConfigurationError:
    lines = text.splitlines()
    at = (error.lineno if isinstance(error, SyntaxError) else None) or line
    if (odd := _lookalike(text)) is not None and (line is None or odd[0] == at):
        place = Location(name, None if line is None else odd[0])
        return ConfigurationError(f"{place}: {odd[1]}: type it anew: {lines[odd[0] - 1].strip()[:100]}")
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
