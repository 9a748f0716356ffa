"""What the tasks on a trained run share: its options, its loading, its images."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.core.checks import ConfigurationError, DataError

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


def add_ladder(parser: argparse._ArgumentGroup) -> None:
    """The option of another number of levels."""
    text = "levels to sample by, for an energy that knows all levels (default: as trained)"
    parser.add_argument("--ladder", type=int, metavar="T", help=text)


def load_run(
    arguments: argparse.Namespace,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
    checkpoint: Path | None = None,
) -> Run:
    """The run of --run, at --checkpoint unless another is named; parts: see runs.load."""
    need_run(arguments)
    at_least_one(arguments, "batch_size")

    from modules import runs

    trained = runs.load(
        arguments.run,
        checkpoint or arguments.checkpoint,
        arguments.weights,
        arguments.overrides,
        arguments.imports,
        arguments.trust_imports,
        parts,
    )
    return laddered(arguments, trained)


def laddered(arguments: argparse.Namespace, trained: Run) -> Run:
    """The run by --ladder's levels, where they are given."""
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


def folder_of(arguments: argparse.Namespace, name: str) -> Path:
    """Where to write: --output, or a folder of the run."""
    folder = Path(arguments.output or Path(arguments.run) / f"{name}_seed{arguments.seed}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
    examples = trained.data.open()
    if len(examples) < num:
        raise DataError(f"{num} images are asked for, the data set has {len(examples)}")
    images, labels = examples.rows(torch.arange(num) * len(examples) // num)
    return images, labels[:, 0] if labels.shape[1] == 1 else None


def _pictures(paths: list[Path], shape: tuple[int, ...]) -> Tensor:
    import torch

    from modules.data.images import read_image

    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} doesn't exist: --images takes pictures and folders of them")
        files += sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{paths[0]} is an empty folder: --images takes pictures and folders of them")
    return torch.stack([read_image(file, shape) for file in files])
