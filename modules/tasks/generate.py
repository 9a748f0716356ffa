"""Sample images from a trained run: one PNG each and a grid, or one array file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from modules.tasks import _options

if TYPE_CHECKING:
    from torch import Tensor


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of generation."""
    add = parser.add_argument
    add("--num", type=int, default=64, help="how many images (default 64)")
    add("--label", metavar="CLASS", help="class number or name, of all images; default: all classes in turn")
    add("--guidance", type=float, metavar="W", help="classifier-free guidance scale; 0 = conditional")
    add("--format", choices=("png", "npz"), default="png", help="a PNG for each image, or one array file")
    _options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the images, and a grid of the first 64."""
    _options.at_least_one(arguments, "num")

    import torch
    from tqdm.auto import tqdm

    from modules.report.pictures import save_samples
    from modules.sampling import sample_batches

    trained = _options.load_run(arguments)
    runtime, num = trained.runtime, arguments.num
    generation = trained.guided(arguments.guidance)
    labels = trained.labels(None if arguments.label is None else trained.label_of(arguments.label), num)
    if labels is None and trained.method.energy.num_classes:
        labels = torch.arange(num) % trained.method.energy.num_classes
    folder = _options.folder_of(arguments, "generated")

    # each process draws and writes its own images, so that memory doesn't grow with their number
    as_array = arguments.format == "npz" or len(trained.data.shape) != 3
    mine = torch.arange(num)[runtime.rank :: runtime.num_processes]
    shown: list[tuple[Tensor, Tensor]] = []
    kept: list[tuple[Tensor, Tensor]] = []
    bar = tqdm(total=len(mine), unit="img", disable=not runtime.is_main)
    batches = sample_batches(
        generation,
        trained.method.energy,
        trained.method.initializer,
        trained.method.schedule,
        mine,
        None if labels is None else labels[mine],
        arguments.seed,
        runtime,
        arguments.batch_size,
    )
    for index, drawn in batches:
        walk = torch.stack([*drawn.levels, drawn.x]).cpu()
        if int(index[0]) < 64:
            first = index < 64
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
    if runtime.is_main:
        order = torch.cat([index for index, _ in shown]).argsort()
        walk = torch.cat([images for _, images in shown], 1)[:, order]
        save_samples(walk[-1], list(walk[:-1]), folder / "grid.png")
        print(f"{num} samples of step {trained.step:,} in {folder}")
    runtime.finish()
    return 0


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
