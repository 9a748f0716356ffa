"""Sample images from a trained run: one PNG each and a grid, or one array file; sweeps over guidance."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import DataError, check_integer
from modules.tasks import _options

if TYPE_CHECKING:
    from torch import Tensor

    from modules.core.types import Chain, Transition
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
        help="chain steps a level of the run's own sampler, longer ones where that knows how long so few "
        "should be (default: as configured)",
    )
    add(
        "--levels",
        action="store_true",
        help="every level too: levels.gif, and of images levels.png, a strip of each of the first 8",
    )
    add("--format", choices=("png", "npz"), default="png", help="a PNG for each image, or one array file")
    _options.add_run_options(parser)
    _options.add_quality(parser)


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
    inner = {scale: f"guidance_{_options.plain_number(scale or 0.0)}" for scale in generations}
    names = _files(arguments, len(trained.data.shape) == 3, list(inner.values()))
    outputs = _options.outputs(arguments, f"generated_seed{arguments.seed}", ("seed",), names, trained)
    if trained.runtime.is_main:
        outputs.begin()
    trained.runtime.wait()
    folder, swept = outputs.folder, {}
    for scale, generation in generations.items():
        place = folder if len(generations) == 1 else folder / inner[scale]
        try:
            swept[scale] = _generate(trained, generation, labels, place, arguments)[-1]
        except DataError:  # samples that are not finite: nothing of what was drawn is kept
            trained.runtime.wait()
            if trained.runtime.is_main:
                outputs.withdraw()
            raise
    if trained.runtime.is_main:
        if len(swept) > 1:
            save_sweep(swept, labels, folder / "guidance.png")
        outputs.end()
    trained.runtime.finish()
    return 0


def _files(arguments: argparse.Namespace, of_images: bool, scales: list[str]) -> list[str]:
    """The files of each folder of a scale, and of all scales."""
    as_array = arguments.format == "npz" or not of_images
    names = ["samples.npz"] if as_array else [f"{index:06d}.png" for index in range(arguments.num)]
    names.append("grid.png")
    if arguments.levels:
        names += ["levels.gif", "levels.png"] if of_images else ["levels.gif"]
    if len(scales) == 1:
        return names
    return [f"{scale}/{name}" for scale in scales for name in names] + ["guidance.png"]


def _generate(
    trained: Run, generation: Generation, labels: Tensor | None, folder: Path, arguments: argparse.Namespace
) -> Tensor:
    """Draw and write the images at one scale; x_T, ..., x_0, x of the first ones, (levels + 1, n, ...)."""
    import torch

    from modules.report.pictures import save_samples
    from modules.report.protocol import named
    from modules.report.walk_pictures import save_levels
    from modules.sampling.draw import Draw
    from modules.sampling.indexed import diverged, level_bar, not_finite, sample_batches

    # each process draws and writes its own images, so that memory doesn't grow with their number
    runtime, num = trained.runtime, arguments.num
    most = _SHOWN if len(trained.data.shape) == 3 else _SHOWN_POINTS
    as_array = arguments.format == "npz" or len(trained.data.shape) != 3
    mine = torch.arange(num)[runtime.rank :: runtime.num_processes]
    shown: list[tuple[Tensor, Tensor]] = []
    kept: list[tuple[Tensor, Tensor]] = []
    draw, size = Draw.of_seed(arguments.seed, num, labels), arguments.batch_size
    bar = level_bar(draw, len(mine), trained.method.schedule, size, runtime.is_main)
    taken: dict[int, list[Tensor]] = {}

    def watch(transition: Transition, chain: Chain) -> None:
        if chain.acceptance is not None:
            taken.setdefault(int(transition.t[0]) - 1, []).append(chain.acceptance.cpu())

    generation = generation.watched(watch)
    batches = sample_batches(generation, trained.networks, draw, mine, runtime, size, each=bar.update)
    lost = 0
    for index, drawn in batches:
        lost += not_finite(drawn.x)
        if lost:
            continue  # to count them all
        walk = torch.stack([*drawn.levels, drawn.x]).cpu()
        if int(index[0]) < most:
            first = index < most
            shown.append((index[first], walk[:, first]))
        if as_array:
            kept.append((index, walk[-1]))
        else:
            _write_images(folder, index.tolist(), walk[-1])
    bar.close()
    lost = int(runtime.sum(torch.tensor(lost, device=runtime.device)))
    if lost:
        raise diverged(lost, num)

    if as_array:
        _write_array(folder, runtime.gather_objects(kept), labels, runtime.is_main)
    shown = runtime.gather_objects(shown)
    order = torch.cat([index for index, _ in shown]).argsort()
    walk = torch.cat([images for _, images in shown], 1)[:, order]
    accepted = _by_level(runtime.gather_objects([taken]))
    if runtime.is_main:
        save_samples(walk[-1], list(walk[:-1]), folder / "grid.png")
        if arguments.levels:
            save_levels(walk, folder)
        classes = "" if labels is None else f" of {_options.classes_of(trained, labels)}"
        by = named(generation.sampler)
        print(f"{num} samples{classes} of step {trained.step:,} by {by} in {folder}")
        if accepted:
            print("accepted by level: " + ", ".join(f"{k}: {share:.1%}" for k, share in accepted.items()))
    return walk


def _by_level(taken: list[dict[int, list[Tensor]]]) -> dict[int, float]:
    """The share of steps that were taken at each level, the noisiest first, over all processes' chains."""
    import torch

    levels = sorted({level for one in taken for level in one}, reverse=True)
    return {k: float(torch.cat([part for one in taken for part in one.get(k, [])]).mean()) for k in levels}


def _write_images(folder: Path, indices: list[int], images: Tensor) -> None:
    """A PNG for each image."""
    from modules.report.pictures import image_of

    for index, image in zip(indices, images, strict=True):
        image_of(image).save(folder / f"{index:06d}.png")


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
