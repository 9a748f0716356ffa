"""Sample images from a trained run: one PNG each and a grid, or one array file; sweeps over guidance."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from modules.checks import ConfigurationError, check_integer
from modules.tasks import _options

if TYPE_CHECKING:
    from torch import Tensor

    from modules.runs import Run

_SHOWN = 64  # images on a grid


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of generation."""
    add = parser.add_argument
    add("--num", type=int, default=64, help="how many images (default 64)")
    add("--label", metavar="CLASS", help="class number or name, of all images; default: all classes in turn")
    add(
        "--guidance",
        nargs="+",
        type=float,
        metavar="W",
        help="classifier-free guidance scale, 0 = conditional; of several each gets a folder, and "
        "guidance.png shows the same seeds under all",
    )
    add(
        "--steps",
        type=int,
        metavar="K",
        help="chain steps a level, with the step-size factor found good for so few (default: as configured)",
    )
    add(
        "--levels",
        action="store_true",
        help="every level too: levels.png, a strip of each of the first 8 images, and levels.gif",
    )
    add("--format", choices=("png", "npz"), default="png", help="a PNG for each image, or one array file")
    _options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the images, and a grid of the first 64; of several guidance scales in a folder each."""
    _options.at_least_one(arguments, "num")
    check_integer("--num", arguments.num, high=10**8)

    import torch

    trained = _options.load_run(arguments)
    scales: list[float] = arguments.guidance or []
    for scale in scales:
        trained.guided(scale)
    if len(set(scales)) < len(scales):
        raise ConfigurationError("--guidance: the same scale is given twice")
    if arguments.levels or len(scales) > 1:
        _options.need_images(trained, "generate with --levels or several scales of --guidance")
    if arguments.steps is not None:
        trained = trained.with_steps(arguments.steps)
    num = arguments.num
    labels = trained.labels(None if arguments.label is None else trained.label_of(arguments.label), num)
    if labels is None and trained.energy.num_classes:
        labels = torch.arange(num) % trained.energy.num_classes
    folder = _options.folder_of(arguments, "generated")
    if len(scales) < 2:
        _generate(trained, scales[0] if scales else None, labels, folder, arguments)
    else:
        swept = []
        for scale in scales:
            inner = folder / f"guidance_{scale:g}"
            inner.mkdir(exist_ok=True)
            swept.append(_generate(trained, scale, labels, inner, arguments)[-1])
        if trained.runtime.is_main:
            _write_sweep(folder, swept, labels)
    trained.runtime.finish()
    return 0


def _generate(
    trained: Run, scale: float | None, labels: Tensor | None, folder: Path, arguments: argparse.Namespace
) -> Tensor:
    """Draw and write the images at one scale; x_T, ..., x_0, x of the first 64, (levels + 1, 64, ...)."""
    import torch
    from tqdm.auto import tqdm

    from modules.report.pictures import save_samples
    from modules.sampling import sample_batches

    # each process draws and writes its own images, so that memory doesn't grow with their number
    runtime, num = trained.runtime, arguments.num
    as_array = arguments.format == "npz" or len(trained.data.shape) != 3
    mine = torch.arange(num)[runtime.rank :: runtime.num_processes]
    shown: list[tuple[Tensor, Tensor]] = []
    kept: list[tuple[Tensor, Tensor]] = []
    bar = tqdm(total=len(mine), unit="img", disable=not runtime.is_main)
    batches = sample_batches(
        trained.guided(scale),
        trained.energy,
        trained.initializer,
        trained.method.schedule,
        mine,
        None if labels is None else labels[mine],
        arguments.seed,
        runtime,
        arguments.batch_size,
    )
    for index, drawn in batches:
        walk = torch.stack([*drawn.levels, drawn.x]).cpu()
        if int(index[0]) < _SHOWN:
            first = index < _SHOWN
            shown.append((index[first], walk[:, first]))
        if as_array:
            kept.append((index, walk[-1]))
        else:
            _write_images(folder, index.tolist(), walk[-1])
        bar.update(len(index))
    bar.close()

    if as_array:
        _write_array(folder, runtime.gather_objects(kept), labels, runtime.is_main)
    shown = runtime.gather_objects(shown)
    order = torch.cat([index for index, _ in shown]).argsort()
    walk = torch.cat([images for _, images in shown], 1)[:, order]
    if runtime.is_main:
        save_samples(walk[-1], list(walk[:-1]), folder / "grid.png")
        if arguments.levels:
            _write_levels(folder, walk)
        print(f"{num} samples of step {trained.step:,} in {folder}")
    return walk


def _write_levels(folder: Path, walk: Tensor) -> None:
    """levels.png: a strip each of the first 8; levels.gif: the grid of all, from noise to samples."""
    from modules.report.pictures import grid, save, save_film

    save(grid(walk[:, :8].transpose(0, 1).flatten(0, 1), len(walk)), folder / "levels.png", smallest=640)
    columns = max(1, round(walk.shape[1] ** 0.5))
    save_film([grid(images, columns) for images in walk], folder / "levels.gif")


def _write_sweep(folder: Path, swept: list[Tensor], labels: Tensor | None) -> None:
    """guidance.png: a scale a row, the same seeds in each column, ordered by class."""
    import torch

    from modules.report.pictures import grid, save

    order = torch.arange(len(swept[0]))
    if labels is not None:
        order = labels[: len(order)].argsort(stable=True)
    columns = order[:: -(-len(order) // 20)]  # 20 of them at most
    rows = torch.stack([images[columns] for images in swept])
    save(grid(rows.flatten(0, 1), len(columns)), folder / "guidance.png", smallest=480)


def _write_images(folder: Path, indices: list[int], images: Tensor) -> None:
    from modules.report.pictures import image_of

    for index, image in zip(indices, images, strict=True):
        image_of(image).save(folder / f"{index:06d}.png")


def _write_array(
    folder: Path, parts: list[tuple[Tensor, Tensor]], labels: Tensor | None, is_main: bool
) -> None:
    """samples.npz: `images` (uint8 images, float32 points) in the order of their index, and `labels`."""
    import numpy as np
    import torch

    from modules.report.pictures import to_bytes

    if not is_main:
        return
    order = torch.cat([index for index, _ in parts]).argsort()
    x = torch.cat([images for _, images in parts])[order]
    images = (to_bytes(x) if x.ndim == 4 else x).numpy()
    if labels is None:
        np.savez(folder / "samples.npz", images=images)
    else:
        np.savez(folder / "samples.npz", images=images, labels=labels.numpy())
