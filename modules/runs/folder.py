"""The configuration that a run's folder holds: bindings as gin text without imports, imports as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modules import config
from modules.config.files import shown
from modules.core.checks import CheckpointError, nearest
from modules.core.code import is_imported
from modules.storage import durable
from modules.training.recipe import CONFIG, IMPORTS


def save_config(folder: Path, built: config.Config) -> None:
    """Write the configuration into the run folder: bindings as gin without imports, imports as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    imports = json.dumps({"imports": list(built.imports)}, indent=1) + "\n"
    for name, text in ((CONFIG, built.text), (IMPORTS, imports), ("operative.gin", built.resolved())):
        durable.replace_file(folder / name, text)


def saved_config(
    folder: Path, overrides: Sequence[str] = (), imports: Sequence[str] = (), trust_imports: bool = False
) -> config.Config:
    """The configuration that a run folder holds; reading it runs no code but that of `imports`.

    Raises:
        CheckpointError: the run needs modules that are neither in `imports` nor in use here already, and
            `trust_imports` doesn't say that its folder may name them.
    """
    if not (folder / CONFIG).is_file():
        if untold := _saved(folder / IMPORTS).get("untold"):
            raise CheckpointError(
                f"{folder} was trained from objects that gin can't rebuild ({untold}): make them again, and "
                "Run(method, generation, data).take_weights(folder)"
            )
        siblings = (
            [str(p.parent) for p in folder.parent.glob(f"*/{CONFIG}")] if folder.parent.is_dir() else []
        )
        raise CheckpointError(
            f"{folder} is not the folder of a run: it has no {CONFIG}.{nearest(str(folder), siblings)}"
        )
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise CheckpointError(f"{folder / CONFIG} cannot be read: {fault}") from fault
    saved = _saved_imports(folder / IMPORTS)
    if not trust_imports:
        named = {_module_name(name) for name in imports}
        for name in saved:
            if _module_name(name) not in named and not is_imported(name):
                raise CheckpointError(
                    f"{folder} was trained with code of its own, {name}: give that by --import, or "
                    "--trust-imports to run what the folder names"
                )
        saved = [name for name in saved if _module_name(name) not in named]
    place = shown((folder / CONFIG).absolute())
    return config.load_text(text, overrides, [*saved, *imports], place, trust_imports)


def _saved_imports(file: Path) -> list[str]:
    saved = _saved(file)["imports"]
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        raise CheckpointError(f'{file} must hold {{"imports": [...]}} of names')
    return saved


def _saved(file: Path) -> dict[str, Any]:
    """What config.json holds: imports, and why there's no configuration, where there's none."""
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        return {"imports": saved["imports"], "untold": saved.get("untold")}
    except FileNotFoundError:
        return {"imports": []}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise CheckpointError(f'{file} must hold {{"imports": [...]}} ({fault!r})') from fault


def _module_name(name: str) -> str:
    """A module as the user may name it again: a file from another folder is the same one."""
    return Path(name).name if name.endswith(".py") else name


def is_bound(built: config.Config, key: str) -> bool:
    """Whether the configuration gives "Name.parameter" a value of its own."""
    return any(line.startswith(f"{key} = ") for line in built.text.splitlines())
