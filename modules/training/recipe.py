"""A run made in Python as the gin text by which its folder rebuilds it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.fingerprints import is_the_projects
from modules.data.torch_data import TorchData
from modules.storage import durable

CONFIG = "config.gin"
"""Of a run's folder: the configuration."""
IMPORTS = "config.json"
"""Of a run's folder: the files of components that the configuration imports."""
_HEAD = "# written from a Trainer made in Python\n"
_MOST_NUMBERS = 4096  # of a tensor, written out


def leave_recipe(folder: Path, trainer: object) -> str | None:
    """Write what rebuilds the trainer into its run's folder, unless a gin file made it, which is there then.

    Returns:
        why it can't be told in gin, in one line, which the folder keeps; None where it can.
    """
    config, imports = folder / CONFIG, folder / IMPORTS
    if config.exists() and not config.read_text(encoding="utf-8", errors="replace").startswith(_HEAD):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        recipe = Recipe(trainer)
    except ConfigurationError as fault:
        config.unlink(missing_ok=True)
        told: dict[str, Any] = {"imports": [], "untold": str(fault)}
        durable.replace_file(imports, json.dumps(told, indent=1) + "\n")
        return str(fault)
    durable.replace_file(config, _HEAD + recipe.text)
    durable.replace_file(imports, json.dumps({"imports": recipe.imports}, indent=1) + "\n")
    return None


class Recipe:
    """Bindings of all constructors' arguments, of a trainer and all that it is made of.

    A class that is used once is bound by its name, as in the shipped files; one that is used more often in a
    scope for each use, named by where it is, such as `method_sampler/Langevin`.

    Attributes:
        text: the bindings. imports: modules and .py files of the classes that aren't the project's.

    Raises:
        ConfigurationError: what gin can't say: a class that keeps an argument nowhere, one of a script's own,
            a network that is no component, one that is shared by two.
    """

    def __init__(self, trainer: object) -> None:
        self.imports: list[str] = []
        self._blocks: dict[str, dict[str, str]] = {}
        self._networks: dict[int, str] = {}
        self._uses = Counter(type(part).__name__ for part in _components(trainer))
        self._reference("Trainer", trainer)
        self.text = "\n\n".join(
            "\n".join(f"{name}.{parameter} = {value}" for parameter, value in block.items())
            for name, block in self._blocks.items()
            if block
        )
        self.text += "\n"

    def _reference(self, place: str, component: object) -> str:
        """`@scope/Name()` of a component, whose bindings are written."""
        kind = type(component)
        if isinstance(component, nn.Module):
            if id(component) in self._networks:
                raise ConfigurationError(
                    f"{place} and {self._networks[id(component)]} are one {kind.__name__}, which gin would "
                    "make twice"
                )
            self._networks[id(component)] = place
        if not is_the_projects(kind):
            self._import(place, kind)
        scope = place.partition(".")[2].replace(".", "_")
        name = f"{scope}/{kind.__name__}" if self._uses[kind.__name__] > 1 and scope else kind.__name__
        block = self._blocks[name] = {}
        for parameter, value in _arguments(component).items():
            block[parameter] = self._value(f"{place}.{parameter}", value)
        return f"@{name}()"

    def _import(self, place: str, kind: type) -> None:
        module = sys.modules.get(kind.__module__)
        file = getattr(module, "__file__", None)
        library = kind.__module__.partition(".")[0] in ("torch", "torchvision", "builtins", "accelerate")
        if library or not file or not _is_named(kind):
            raise ConfigurationError(f"{place} is {_a(kind)}, which a gin file has no word for")
        if kind.__module__ == "__main__":
            raise ConfigurationError(
                f"{kind.__name__} stands in the script itself, {Path(file).name}, which would run again: "
                "move it to a file of its own and import it from there"
            )
        found = kind.__module__ if "." in kind.__module__ else str(Path(file).resolve())
        if found not in self.imports:
            self.imports.append(found)

    def _value(self, place: str, value: Any) -> str:
        if value is None or isinstance(value, (bool, int, str)):
            return repr(value)
        if isinstance(value, float):
            return repr(value).replace("inf", "1e999")  # gin has no word for infinity
        if isinstance(value, Path):
            return repr(str(value))
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            if value.numel() > _MOST_NUMBERS:
                raise ConfigurationError(
                    f"{place} is a tensor of {value.numel():,} numbers, too many for gin"
                )
            return self._value(place, value.tolist())
        if isinstance(value, dict):
            items = [
                f"{self._value(place, key)}: {self._value(f'{place}.{key}', item)}"
                for key, item in value.items()
            ]
            return "{" + ", ".join(items) + "}"
        if isinstance(value, (list, tuple)):
            listed = [self._value(f"{place}.{n}", item) for n, item in enumerate(value)]
            if isinstance(value, list):
                return f"[{', '.join(listed)}]"
            return f"({', '.join(listed)}{',' if len(listed) == 1 else ''})"
        return self._reference(place, value)


def _is_named(kind: type) -> bool:
    """Whether its module has it under its name."""
    return vars(sys.modules[kind.__module__]).get(kind.__name__) in kind.__mro__


def _components(component: object) -> list[object]:
    """It and all that its arguments are made of, each once a use."""
    found, waiting = [], [component]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (list, tuple)):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
        elif part is not None and not isinstance(part, (bool, int, float, str, Path, Tensor)):
            found.append(part)
            waiting += _arguments(part).values()
    return found


def _arguments(component: object) -> dict[str, Any]:
    kind = type(component)
    if isinstance(component, type) or kind.__module__ in ("builtins", "functools"):
        raise ConfigurationError(f"{component!r} is {_a(kind)}, which a gin file has no word for")
    if kind.__module__.partition(".")[0] == "torch":
        raise ConfigurationError(f"{_a(kind)} has no word in a gin file: make it a class of your own")
    found = arguments_of(component, "a gin file can't say it")
    if isinstance(component, TorchData):  # which keeps the name of its data set for protocols
        found["dataset"] = component.dataset
    return found


def _a(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
