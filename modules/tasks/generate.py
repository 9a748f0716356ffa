"""Sample images from a trained run: one PNG each and a grid, or one array file; sweeps over guidance."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import check_integer
from modules.tasks import _options

if TYPE_CHECKING:
    from torch import Tensor

    from modules.runs import Run
    from modules.sampling.generation import Generation

_SHOWN, _SHOWN_POINTS = 64, 2000  # of images on a grid, of points


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
        help="every level too: levels.gif, and of images levels.png, a strip of each of the first 8",
    )
    add("--format", choices=("png", "npz"), default="png", help="a PNG for each image, or one array file")
    _options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the images, and a grid of the first; of several guidance scales in a folder each."""
    _options.at_least_one(arguments, "num")
    check_integer("--num", arguments.num, high=10**8)

    import torch

    from modules.report.walk_pictures import save_sweep

    trained = _options.load_run(arguments)
    if arguments.steps is not None:
        trained = trained.with_steps(arguments.steps)
    generations = _options.guided(arguments, trained)
    num = arguments.num
    labels = trained.labels(None if arguments.label is None else trained.label_of(arguments.label), num)
    if labels is None and trained.energy.num_classes:
        labels = torch.arange(num) % trained.energy.num_classes
    folder = _options.folder_of(arguments, "generated")
    if trained.runtime.is_main:
        _clear(folder)
    trained.runtime.wait()
    swept = {}
    for scale, generation in generations.items():
        inner = folder if len(generations) == 1 else folder / f"guidance_{scale:g}"
        inner.mkdir(exist_ok=True)
        swept[scale] = _generate(trained, generation, labels, inner, arguments)[-1]
    if trained.runtime.is_main and len(swept) > 1:
        save_sweep(swept, labels, folder / "guidance.png")
    trained.runtime.finish()
    return 0


def _clear(folder: Path) -> None:
    """Take away what this task has left in the folder before: fewer images, or another format, would mix."""
    swept = list(folder.glob("guidance_*/"))
    for inner in (folder, *swept):
        if (inner / "grid.png").exists():  # written last, by this task
            ours = {inner / name for name in ("samples.npz", "levels.gif", "levels.png", "grid.png")}
            ours |= {path for path in inner.glob("*.png") if re.fullmatch(r"\d{6,}", path.stem)}
            for path in ours:
                path.unlink(missing_ok=True)
            if inner != folder and not any(inner.iterdir()):
                inner.rmdir()
    if swept:
        (folder / "guidance.png").unlink(missing_ok=True)


def _generate(
    trained: Run, generation: Generation, labels: Tensor | None, folder: Path, arguments: argparse.Namespace
) -> Tensor:
    """Draw and write the images at one scale; x_T, ..., x_0, x of the first ones, (levels + 1, n, ...)."""
    import torch
    from tqdm.auto import tqdm

    from modules.report.pictures import save_samples
    from modules.report.walk_pictures import save_levels
    from modules.sampling.draw import Draw
    from modules.sampling.indexed import diverged, not_finite, sample_batches

    # each process draws and writes its own images, so that memory doesn't grow with their number
    runtime, num = trained.runtime, arguments.num
    most = _SHOWN if len(trained.data.shape) == 3 else _SHOWN_POINTS
    as_array = arguments.format == "npz" or len(trained.data.shape) != 3
    mine = torch.arange(num)[runtime.rank :: runtime.num_processes]
    shown: list[tuple[Tensor, Tensor]] = []
    kept: list[tuple[Tensor, Tensor]] = []
    bar = tqdm(total=len(mine), unit="img", disable=not runtime.is_main)
    networks = trained.energy, trained.initializer, trained.method.schedule
    draw = Draw.of_seed(arguments.seed, num, labels)
    batches = sample_batches(generation, *networks, draw, mine, runtime, arguments.batch_size)
    lost, written = 0, list[Path]()
    for index, drawn in batches:
        lost += not_finite(drawn.x)
        if lost:
            continue  # to count them all; nothing of what was drawn is kept
        walk = torch.stack([*drawn.levels, drawn.x]).cpu()
        if int(index[0]) < most:
            first = index < most
            shown.append((index[first], walk[:, first]))
        if as_array:
            kept.append((index, walk[-1]))
        else:
            written += _write_images(folder, index.tolist(), walk[-1])
        bar.update(len(index))
    bar.close()
    lost = int(runtime.sum(torch.tensor(lost, device=runtime.device)))
    if lost:
        for path in written:
            path.unlink()
        raise diverged(lost, num)

    if as_array:
        _write_array(folder, runtime.gather_objects(kept), labels, runtime.is_main)
    shown = runtime.gather_objects(shown)
    order = torch.cat([index for index, _ in shown]).argsort()
    walk = torch.cat([images for _, images in shown], 1)[:, order]
    if runtime.is_main:
        save_samples(walk[-1], list(walk[:-1]), folder / "grid.png")
        if arguments.levels:
            save_levels(walk, folder)
        classes = "" if labels is None else f" of {_options.classes_of(trained, labels)}"
        print(f"{num} samples{classes} of step {trained.step:,} in {folder}")
    return walk


def _write_images(folder: Path, indices: list[int], images: Tensor) -> list[Path]:
    """A PNG for each image; where they are."""
    from modules.report.pictures import image_of

    paths = [folder / f"{index:06d}.png" for index in indices]
    for path, image in zip(paths, images, strict=True):
        image_of(image).save(path)
    return paths


def _write_array(
    folder: Path, parts: list[tuple[Tensor, Tensor]], labels: Tensor | None, is_main: bool
) -> None:
    """samples.npz: `images` (uint8 images, float32 points) in the order of their index, and `labels`."""
    import numpy as np
    import torch

    from modules.data.quantization import to_bytes

    if not is_main:
        return
    order = torch.cat([index for index, _ in parts]).argsort()
    x = torch.cat([images for _, images in parts])[order]
    images = (to_bytes(x) if x.ndim == 4 else x).numpy()
    if labels is None:
        np.savez(folder / "samples.npz", images=images)
    else:
        np.savez(folder / "samples.npz", images=images, labels=labels.numpy())
