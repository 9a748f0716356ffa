"""Importing what a configuration may name: the project's components and the user's own modules."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType

import modules
from modules.config.files import shown
from modules.core.checks import ConfigurationError, nearest

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
        _import_path(path, place)
        return str(path)
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(
            f"{place}: {name} is no module: give a module path such as my.module, or a .py file"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _import_fault(place, error) from error
        raise ConfigurationError(
            f"{place}: no module {error.name!r} in {folder} or among the installed packages; "
            f"give a module path such as my.module, or a .py file"
        ) from error
    except Exception as error:
        raise _import_fault(place, error) from error
    return name


def is_imported(name: str) -> bool:
    """Whether a module, by its path or .py file, is in use here already: importing it runs nothing."""
    if not name.endswith(".py"):
        return name in sys.modules
    return any(getattr(module, "__file__", None) == name for module in list(sys.modules.values()))


def _import_own(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "modules":
            raise
        raise ConfigurationError(
            f"{name} needs the package {error.name!r}, which is not installed: pip install -e ."
        ) from error


def _import_path(path: Path, place: str) -> None:
    """Import the file `path` once, under its own name unless another module has it."""
    if is_imported(str(path)):
        return
    name, count = path.stem, 1
    while name in sys.modules:
        count += 1
        name = f"{path.stem}_{count}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{place}: {path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _import_fault(place, error) from error


def _import_fault(place: str, error: Exception) -> ConfigurationError:
    """One line for an error inside a user's module, with the file and line where it was raised."""
    message = str(error).split("\n")[0]
    if isinstance(error, SyntaxError) and error.filename:
        message, where = error.msg, f"{shown(Path(error.filename))}:{error.lineno}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
        own = [f for f in frames if Path(f.filename).resolve() != Path(__file__).resolve()]
        frame = next((f for f in own if "importlib" not in f.filename), None)
        where = f"{shown(Path(frame.filename))}:{frame.lineno}" if frame else ""
    return ConfigurationError(f"{place}: {where}: {type(error).__name__}: {message}")
