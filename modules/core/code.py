"""Where a name becomes code: the only two functions that import, or look up, what a string names.

The rule. The project's own modules may be named by anything. What else becomes code was typed by the user in
this command, stands in a gin file named in it, or is trusted by --trust-imports; the words of a run's folder
and of a checkpoint are data. Components say which of their parameters become code (`code_parameters`), and
modules.config.code lets nothing else reach them.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from modules.core.checks import ConfigurationError, nearest, one_line

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT if (ROOT / "gin" / "base").is_dir() else ROOT / "modules" / "recipes"
"""The folder that holds `gin/`, our gin files: the repository, or where a wheel has them."""


def module_named(name: str) -> ModuleType:
    """Import a module of the project (`modules.X`), or the user's: a module path, or a .py file.

    The user's is looked for in the environment, then in the working folder and the repository; these two are
    on Python's path for as long as it is imported. Optional packages come from the environment alone.
    """
    if name.split(".")[0] == "modules":
        return importlib.import_module(name)
    with _working_folder():
        return _of_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)


def object_named(path: str, place: str, allowed: Callable[[Any], bool], wanted: str) -> Any:
    """What an import path leads to, such as "torch.nn.Linear" or "my_module:judge", if it is `allowed`.

    Args:
        place: where the user typed the path, the head of any error.
        allowed: looks at what was found; nothing is called.
        wanted: what is allowed, in words.

    Raises:
        ConfigurationError: nothing is there, importing it fails, or something else is there.
    """
    owner, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        with _working_folder():
            found = pkgutil.resolve_name(owner) if owner and name else None
    except Exception as fault:  # a module may fail by anything
        raise ConfigurationError(f"{place} {path!r}: {one_line(fault)}") from fault
    if found is None or not hasattr(found, name):
        hint = nearest(name, dir(found)) if found else f" Give the path of {wanted}"
        raise ConfigurationError(f"{place} {path!r} is not to be found.{hint}")
    value = getattr(found, name)
    if not allowed(value):
        raise ConfigurationError(f"{place} {path!r} must be {wanted}")
    return value


def is_imported(name: str) -> bool:
    """Whether a module, by its path or .py file, is in use here already: importing it runs nothing."""
    if not name.endswith(".py"):
        return name in sys.modules
    return any(getattr(module, "__file__", None) == name for module in list(sys.modules.values()))


def leave_the_working_folder() -> None:
    """Take the working folder and the repository off Python's path, whichever launcher has put them there.

    A folder such as torch_fidelity/ where a command is started would be taken for the package. The project's
    own modules are found all the same: `modules` is imported.
    """
    left = {Path.cwd(), ROOT}
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in left or _holds(entry)]


def _holds(entry: str) -> bool:
    """Whether installed packages lie there."""
    return (Path(entry) / "gin" / "config.py").exists()


def _of_file(path: Path) -> ModuleType:
    """Import a file once, under its own name unless another module has it."""
    path = path.expanduser().resolve()
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    name, count = path.stem, 1
    while name in sys.modules:
        count += 1
        name = f"{path.stem}_{count}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _working_folder() -> Iterator[None]:
    """The working folder and the repository at the end of Python's path, where they aren't on it."""
    added = [entry for entry in dict.fromkeys((str(Path.cwd()), str(ROOT))) if entry not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for entry in added:
            if entry in sys.path:  # a module may have changed the path
                sys.path.remove(entry)
