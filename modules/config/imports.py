"""Importing what a configuration may name: the project's components and the user's own modules."""

from __future__ import annotations

import pkgutil
import traceback
from pathlib import Path
from types import ModuleType

import modules
from modules.config.files import shown
from modules.core import code
from modules.core.checks import ConfigurationError, nearest
from modules.core.code import module_named

COMPONENTS = (
    "data",
    "energies",
    "evaluation",
    "features",
    "guidance",
    "initializers",
    "losses",
    "methods",
    "metrics",
    "runtime",
    "samplers",
    "sampling",
    "schedules",
    "scores",
    "training",
)
"""The rooms whose classes a gin file may name."""


def import_components() -> None:
    """Import every module that registers components, so that gin knows their names."""
    for module in pkgutil.iter_modules(modules.__path__, "modules."):
        if module.name.removeprefix("modules.") not in COMPONENTS:
            continue
        package = _import_own(module.name)
        if module.ispkg:
            for child in pkgutil.walk_packages(package.__path__, f"{module.name}."):
                _import_own(child.name)


def import_user_module(name: str, place: str) -> str:
    """Import a user's module and return the name by which it is found again from another folder.

    Args:
        name: a module path (`my.module`, also found in the working folder) or a .py file.
        place: where the import was asked for, the head of any error.

    Raises:
        ConfigurationError: the module is not there, or fails while it is imported.
    """
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            beside = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
            raise ConfigurationError(f"{place}: no such file {name}.{nearest(path.name, beside)}")
        try:
            module_named(str(path))
        except Exception as error:
            raise _import_fault(place, error) from error
        return str(path)
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(
            f"{place}: {name} is no module: give a module path such as my.module, or a .py file"
        )
    try:
        module_named(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _import_fault(place, error) from error
        raise ConfigurationError(
            f"{place}: no module {error.name!r} in {Path.cwd()} or among the installed packages; "
            f"give a module path such as my.module, or a .py file"
        ) from error
    except Exception as error:
        raise _import_fault(place, error) from error
    return name


def _import_own(name: str) -> ModuleType:
    try:
        return module_named(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "modules":
            raise
        raise ConfigurationError(
            f"{name} needs the package {error.name!r}, which is not installed: pip install -e ."
        ) from error


def _import_fault(place: str, error: Exception) -> ConfigurationError:
    """One line for an error inside a user's module, with the file and line where it was raised."""
    message = str(error).split("\n")[0]
    if isinstance(error, SyntaxError) and error.filename:
        message, where = error.msg, f"{shown(Path(error.filename))}:{error.lineno}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
        machinery = {Path(__file__).resolve(), Path(code.__file__).resolve()}
        own = [f for f in frames if Path(f.filename).resolve() not in machinery]
        frame = next((f for f in own if "importlib" not in f.filename), None)
        where = f"{shown(Path(frame.filename))}:{frame.lineno}" if frame else ""
    return ConfigurationError(f"{place}: {where}: {type(error).__name__}: {message}")
