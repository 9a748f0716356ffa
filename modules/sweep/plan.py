"""The runs of a sweep: each built once before any is trained, and kept with the folder they belong to."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import config, runs
from modules.core.checks import CheckpointError, ConfigurationError, UserError
from modules.storage import checkpoints, durable
from modules.sweep.axes import Axis, Point, grid, key_of

SEED = "Trainer.seed"
FILE = "sweep.json"
SHOWN = 6  # differences that a message lists


@dataclass(frozen=True)
class Run:
    """A point with one seed: its folder, its bindings, and the configuration that these make."""

    point: Point
    seed: int | None
    folder: Path
    overrides: tuple[str, ...]
    text: str
    num_steps: int

    def __str__(self) -> str:
        return str(self.point) if self.seed is None else f"{self.point}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """Where its output goes: beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def is_finished(self) -> bool:
        """Whether the folder holds its last step, trained by this configuration."""
        try:
            same = (self.folder / runs.CONFIG).read_text(encoding="utf-8") == self.text
            return same and checkpoints.step_of(checkpoints.latest(self.folder)) >= self.num_steps
        except (OSError, UnicodeDecodeError, CheckpointError):
            return False

    @property
    def is_begun(self) -> bool:
        """Whether there's a checkpoint to go on from."""
        return bool(checkpoints.all_of_run(self.folder))


@dataclass(frozen=True)
class Plan:
    """All points of a sweep below one folder.

    Args:
        folder: of the sweep.
        files, overrides, imports: what all points share.
        axes, seeds: what varies; the seed None is the configured one.
    """

    folder: Path
    files: Sequence[str]
    overrides: Sequence[str]
    imports: Sequence[str]
    axes: Sequence[Axis]
    seeds: Sequence[int | None]

    def check(self) -> tuple[list[Run], list[str]]:
        """All runs, and a line on each point, when every point has been built as --dry-run builds it.

        Raises:
            ConfigurationError: the first fault, with the point it is of.
        """
        given = {key_of(text) for text in self.overrides}
        swept = {key_of(b) for axis in self.axes for choice in axis.choices for b in choice.bindings}
        if self.seeds != [None]:
            if SEED in swept:
                raise ConfigurationError(f"--sweep sets {SEED}, and so does --seeds: keep one of the two")
            swept.add(SEED)
        if both := sorted(given & swept):
            raise ConfigurationError(f"--set {both[0]} has no effect: each point of the sweep sets it")
        checked: list[list[Run]] = []
        lines = []
        for point in grid(self.axes):
            try:
                found, line = self._runs(point)
            except UserError as fault:
                raise ConfigurationError(f"{point}: {fault}") from fault
            checked.append(found)
            lines.append(line)
        # by seeds, so that early on there's something of every point
        return [run for runs_of_seed in zip(*checked, strict=True) for run in runs_of_seed], lines

    def _runs(self, point: Point) -> tuple[list[Run], str]:
        """A point's runs, and what would be trained, in a line."""
        found: list[Run] = []
        for seed in self.seeds:
            ending = () if seed is None else (f"{SEED}={seed}",)
            overrides = (*self.overrides, *point.bindings, *ending)
            built = config.load(self.files, overrides, self.imports)
            if not found:  # other seeds change nothing of what is built
                trainer = built.build("Trainer")
                built.check_used()
                trainer.micro_rows()
            folder = self.folder / point.folder
            folder = folder if seed is None else folder / f"seed_{seed}"
            found.append(Run(point, seed, folder, overrides, built.text, trainer.num_steps))
        sizes = [
            f"{name} {type(network).__name__} of {sum(p.numel() for p in network.parameters()):,} parameters"
            for name, network in trainer.method.networks().items()
        ]
        bindings = "; ".join(point.bindings) or "nothing set"
        return found, f"{point}: {bindings} ({', '.join(sizes)}; {trainer.num_steps:,} steps)"

    def definition(self, checked: Sequence[Run], command: str) -> dict[str, Any]:
        """What sweep.json keeps: the command, the seeds, and each point's configuration."""
        points = {
            str(run.point): {
                "folder": run.point.folder,
                "bindings": list(run.point.bindings),
                "configuration": _without_seed(run).splitlines(),
            }
            for run in checked
            if run.seed == self.seeds[0]
        }
        return {"schema": 1, "command": command, "seeds": list(self.seeds), "points": points}


def remember(folder: Path, definition: dict[str, Any], allow_changes: bool) -> None:
    """Write sweep.json into a sweep's folder, which is a new one's, or this sweep's.

    Raises:
        ConfigurationError: the folder is another sweep's; `allow_changes` takes it over, with what is there.
        CheckpointError: it is a run's, or its sweep.json is damaged.
    """
    if (folder / runs.CONFIG).exists() or checkpoints.all_of_run(folder):
        raise CheckpointError(f"{folder} holds a run: name another folder for the sweep by --output")
    before = saved(folder)
    if before is not None and not allow_changes:
        changed = list(_differences(before, definition))
        if changed:
            more = f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            raise ConfigurationError(
                f"{folder} is the folder of another sweep ({'; '.join(changed[:SHOWN])}{more}): name another "
                "by --output, or add --allow-changes to go on with this one and keep the runs that both have"
            )
    durable.replace_file(folder / FILE, json.dumps(definition, indent=1) + "\n")


def saved(folder: Path) -> dict[str, Any] | None:
    """What a sweep's folder remembers; None where it is no sweep's. Raises CheckpointError if damaged."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as fault:
        raise CheckpointError(f"{folder / FILE} cannot be read: {fault}") from fault
    try:
        definition = json.loads(text)
        for point in definition["points"].values():
            "\n".join(point["configuration"])
        if not isinstance(definition["seeds"], list) or not isinstance(definition["command"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise CheckpointError(
            f"{folder / FILE} is damaged: delete it to begin anew with the runs that are there"
        ) from fault
    return definition


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """In a few words each: seeds, points and settings that one of the two has alone."""
    if before["seeds"] != now["seeds"]:
        yield f"seeds {before['seeds']}, now {now['seeds']}"
    for name in [*before["points"], *(name for name in now["points"] if name not in before["points"])]:
        if name not in now["points"]:
            yield f"- {name}"
        elif name not in before["points"]:
            yield f"+ {name}"
        else:
            old, new = (sweep["points"][name]["configuration"] for sweep in (before, now))
            changed = [x for x in difflib.ndiff(old, new) if x[0] in "+-" and x[2:].strip()]
            yield from (f"{name}: {line}" for line in changed)


def _without_seed(run: Run) -> str:
    """The configuration but for the seed that --seeds sets."""
    if run.seed is None:
        return run.text
    return "".join(x for x in run.text.splitlines(keepends=True) if not x.startswith(f"{SEED} = "))
