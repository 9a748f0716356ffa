"""Energy-based models by recovery likelihood: all public names from one import, each when it is asked for.

    from recovery_likelihood import Langevin, Run, Trainer, UNetEnergy

These are the names that the rooms in `modules` hand on. This module finds them beside itself, whatever other
package `modules` there is where Python was started; of two such packages a process can use one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_HOME = Path(__file__).resolve().parent
_ROOMS = (
    *("core", "schedules", "data", "energies", "initializers", "samplers", "losses", "guidance", "methods"),
    *("runtime", "sampling", "scores", "features", "metrics", "evaluation", "training", "runs"),
)


def _own_package() -> ModuleType:
    """The package `modules` beside this file. Raises ImportError where another is in use."""
    found = sys.modules.get("modules")
    if found is None:
        home = _HOME / "modules"
        spec = importlib.util.spec_from_file_location(
            "modules", home / "__init__.py", submodule_search_locations=[str(home)]
        )
        assert spec is not None and spec.loader is not None
        found = sys.modules["modules"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    places = [Path(place).resolve() for place in getattr(found, "__path__", [])]
    if _HOME / "modules" not in places:
        where = str(places[0]) if places else str(getattr(found, "__file__", "nowhere"))
        raise ImportError(
            f"a package `modules` of another project is in use, {where}, where recovery_likelihood needs its "
            f"own, {_HOME / 'modules'}: import recovery_likelihood first, where the other is not needed"
        )
    return found


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for room in _ROOMS:
            module = importlib.import_module(f"modules.{room}")
            if name in module.__all__:
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({name for room in _ROOMS for name in importlib.import_module(f"modules.{room}").__all__})


def command() -> int:
    """The installed command: launch.py's, whoever else's `launch` is on Python's path."""
    spec = importlib.util.spec_from_file_location("launch", _HOME / "launch.py")
    assert spec is not None and spec.loader is not None
    launch = sys.modules["launch"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launch)
    return int(launch.program())


_own_package()
