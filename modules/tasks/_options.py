"""What the tasks on a trained run share: its options, its loading, its images."""

from __future__ import annotations

import argparse
import json
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.core.checks import ConfigurationError, DataError
from modules.storage.outputs import Outputs

_NAME = re.compile(r"[A-Za-z0-9.+-]{1,24}")  # a value that shows itself in a folder's name
_LONGEST = 120  # characters of such a name
_SHORT = {"overrides": "set", "format": ""}

if TYPE_CHECKING:
    from torch import Tensor

    from modules.runs import Run
    from modules.sampling.generation import Generation


LATEST, AUTO = "latest", "auto"
"""Values of --resume that are no paths: go on from the newest checkpoint; or begin, where there is none."""


def add_run_options(parser: argparse._ArgumentGroup) -> None:
    """Options of every task that samples."""
    add = parser.add_argument
    add("--seed", type=int, default=0, help="of all noise; image i depends on (seed, i) alone (default 0)")
    add("--batch-size", type=int, default=256, help="images at once on a device (default 256)")
    add_ladder(parser)
    add("--checkpoint", metavar="DIR", help='a checkpoint of the run, or "best" (default: the newest)')
    add("--weights", choices=("ema", "live"), default="ema", help="averaged or last weights (default ema)")
    add_allow_changes(parser)


def add_allow_changes(parser: argparse._ArgumentGroup) -> None:
    """The option of other data than the run was trained on."""
    text = "read the run's data although they are not those that it was trained on"
    parser.add_argument("--allow-changes", action="store_true", help=text)


def add_ladder(parser: argparse._ArgumentGroup) -> None:
    """The option of another number of levels."""
    text = "levels to sample by, for an energy that knows all levels (default: as trained)"
    parser.add_argument("--ladder", type=int, metavar="T", help=text)


def add_quality(parser: argparse._ArgumentGroup) -> None:
    """The option of levels and chain steps by name, of tasks that sample."""
    text = "levels and chain steps by the recipe's Generation.qualities, for an energy that knows all levels"
    parser.add_argument("--quality", choices=("fast", "default", "best"), help=text)


def add_sharing(parser: argparse._ArgumentGroup) -> None:
    """Options of the tasks that give a run away."""
    add = parser.add_argument
    add("--license", default="other", help="of the weights, as the Hub names it (default other)")
    add("--num", type=int, default=16, help="samples of the card's picture; 0: no picture (default 16)")
    add("--checkpoint", metavar="DIR", help='a checkpoint of the run, or "best" (default: the newest)')
    add("--weights", choices=("ema", "live"), default="ema", help="averaged or last weights (default ema)")
    add_allow_changes(parser)


def load_run(
    arguments: argparse.Namespace,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
    checkpoint: Path | None = None,
) -> Run:
    """The run of --run, at --checkpoint unless another is named; parts: see runs.load."""
    need_run(arguments)
    at_least_one(arguments, "batch_size")
    return settled(arguments, as_it_is(arguments, parts, checkpoint))


def as_it_is(
    arguments: argparse.Namespace,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
    checkpoint: Path | None = None,
) -> Run:
    """The run of --run on the levels that it was trained on; see load_run."""
    need_run(arguments)

    from modules import runs

    return runs.load(
        arguments.run,
        checkpoint or arguments.checkpoint,
        arguments.weights,
        arguments.overrides,
        arguments.imports,
        arguments.trust_imports,
        parts,
        arguments.allow_changes,
    )


def settled(arguments: argparse.Namespace, trained: Run) -> Run:
    """The run by --ladder's levels or --quality's walk, in a process whose threads are its own."""
    trained.runtime.use_threads()
    given = vars(arguments)
    if given.get("quality") is not None:
        for other in ("ladder", "steps"):
            if given.get(other) is not None:
                raise ConfigurationError(f"--quality chooses levels and chain steps: leave --{other} out")
        return trained.with_quality(arguments.quality)
    return trained if arguments.ladder is None else trained.with_ladder(arguments.ladder)


def need_run(arguments: argparse.Namespace) -> None:
    """Raise where --run is missing, or an option is given that only training reads."""
    if not arguments.run:
        raise ConfigurationError(f"--task {arguments.task} needs a trained run: --run runs/NAME")
    for option in ("gin", "resume", "dry_run"):
        if vars(arguments)[option]:
            name = option.replace("_", "-")
            raise ConfigurationError(
                f"--{name} is for training: --task {arguments.task} takes what --run holds, and --set over it"
            )


def at_least_one(arguments: argparse.Namespace, *names: str) -> None:
    """Raise unless these integer options are above 0."""
    wrong = [name for name in names if vars(arguments)[name] < 1]
    if wrong:
        raise ConfigurationError(f"--{wrong[0].replace('_', '-')} must be at least 1")


def guided(arguments: argparse.Namespace, trained: Run) -> dict[float | None, Generation]:
    """The run's generation at each scale of --guidance; at None, as configured, where none is given.

    Raises:
        ConfigurationError: a run without labels, or a scale twice.
    """
    scales: list[float | None] = arguments.guidance or [None]
    found = {scale: trained.guided(scale) for scale in scales}
    if len(found) < len(scales):
        raise ConfigurationError("--guidance: the same scale is given twice")
    return found


def outputs(
    arguments: argparse.Namespace, base: str, named: Sequence[str], names: Sequence[str], trained: Run
) -> Outputs:
    """The files to be written, in --output or in a folder of the run; on all processes, before any compute.

    Args:
        base: the folder's name in the run, to which the given options are added: others, another folder.
        named: options that `base` tells already.
        names: of the files.

    Raises:
        ConfigurationError: one is there that this command, with these options, did not write.
    """
    given = arguments.given
    of_the_run = "_".join([base, *(f"{_SHORT.get(k, k)}{_plain(given[k])}" for k in given if k not in named)])
    if len(of_the_run) > _LONGEST:
        of_the_run = f"{base}_{_hashed(json.dumps(given, default=str))}"
    folder = Path(arguments.output or Path(arguments.run) / of_the_run)
    return outputs_at(arguments, folder, given, names, trained)


def outputs_at(
    arguments: argparse.Namespace,
    folder: Path,
    by: Mapping[str, Any],
    names: Sequence[str],
    trained: Run,
) -> Outputs:
    """The files to be written in a folder, the task's with what is said in `by`; see `outputs`."""
    run = {"run": str(Path(arguments.run).resolve())} if arguments.output else {}
    found = Outputs(folder, json.dumps({"task": arguments.task, **run, **by}, default=str), names)
    trained.runtime.wait()  # all have looked before the first one writes
    return found


def plain_number(value: float) -> str:
    """A number in short where that tells it from all others, and with all its digits otherwise."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _plain(value: Any) -> str:
    """An option's value as a part of a folder's name."""
    if value is True:
        return ""
    text = "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if _NAME.fullmatch(text) else _hashed(repr(value))


def _hashed(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def classes_of(trained: Run, labels: Tensor) -> str:
    """What was drawn, for a task's output: the class of all, or the first ones of several."""
    drawn = labels.unique().tolist()
    listed = ", ".join(map(trained.name_of, drawn[:10])) + (", ..." if len(drawn) > 10 else "")
    return f"class {listed}" if len(drawn) == 1 else f"{len(drawn)} classes: {listed}"


def need_images(trained: Run, task: str) -> None:
    """Raise for a run of points."""
    if len(trained.data.shape) != 3:
        raise ConfigurationError(f"--task {task} is for images: the run's data are points")


def images_of(paths: list[str] | None, num: int, trained: Run) -> tuple[Tensor, Tensor | None]:
    """Images (n, *shape) in [-1, 1]: of files or folders, or num of the run's data spread over all of it.

    Returns:
        the images and, for those of a data set with one label each, their labels (n,).

    Raises:
        DataError: a file that is missing or no picture; fewer images than asked for.
    """
    import torch

    if paths:
        return _pictures([Path(path) for path in paths], trained.data.shape), None
    examples = trained.open_data()
    if len(examples) < num:
        raise DataError(f"{num} images are asked for, the data set has {len(examples)}")
    images, labels = examples.rows(torch.arange(num) * len(examples) // num)
    return images, labels[:, 0] if labels.shape[1] == 1 else None


def _pictures(paths: list[Path], shape: tuple[int, ...]) -> Tensor:
    import torch

    from modules.data.images import read_image
    from modules.data.picture_folders import pictures_below
    from modules.data.walk import summary

    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} doesn't exist: --images takes pictures and folders of them")
        if not path.is_dir():
            files.append(path)
            continue
        found, left_out = pictures_below(path)
        files += found
        if left_out:
            print(f"{path}: {summary(left_out)}", file=sys.stderr)
    if not files:
        raise DataError(f"{paths[0]} holds no pictures: --images takes pictures and folders of them")
    return torch.stack([read_image(file, shape) for file in files])
