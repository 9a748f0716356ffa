"""Strips of images on the way between two noises, two samples, or two given images."""

from __future__ import annotations

import argparse

from modules.core.checks import ConfigurationError
from modules.tasks import _options


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of interpolation."""
    add = parser.add_argument
    add(
        "--between",
        choices=("noises", "samples", "images"),
        default="noises",
        help="ends of the ways: the x_T of two samples, all else shared; two samples, all noises on the way; "
        "or images made noisy (default noises)",
    )
    add("--images", nargs="+", metavar="PATH", help="pictures or folders, in pairs (default: the run's data)")
    add("--num", type=int, default=8, help="how many ways (default 8; with --images their pairs)")
    add("--frames", type=int, default=9, help="images on a way, with its ends (default 9)")
    add(
        "--level",
        type=int,
        metavar="T",
        help="level that images are made noisy to (default: half the levels)",
    )
    add("--label", metavar="CLASS", help="class number or name, of all images (default none)")
    add("--guidance", type=float, metavar="W", help="classifier-free guidance scale; 0 = conditional")
    _options.add_run_options(parser)
    _options.add_quality(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write strips.png: a way a row; between images, these at both ends."""
    _options.at_least_one(arguments, "num")
    if arguments.frames < 2:
        raise ConfigurationError("--frames must be at least 2")
    if arguments.between != "images" and arguments.images:
        raise ConfigurationError("--images are for --between images")

    import torch

    from modules.report.pictures import grid, save
    from modules.report.protocol import named

    trained = _options.load_run(arguments)
    _options.need_images(trained, "interpolate")
    label = None if arguments.label is None else trained.label_of(arguments.label)
    pairs, ends = arguments.num, None
    if arguments.between == "images":
        images, _ = _options.images_of(arguments.images, 2 * arguments.num, trained)
        if len(images) % 2:
            raise ConfigurationError(f"--images come in pairs, got {len(images)} pictures")
        pairs = ends = (images[::2], images[1::2])
    base = f"interpolated_seed{arguments.seed}"
    outputs = _options.outputs(arguments, base, ("seed",), ("strips.png",), trained)
    ways = trained.interpolate(
        pairs,
        arguments.frames,
        arguments.level,
        label,
        arguments.guidance,
        arguments.seed,
        arguments.batch_size,
        progress=True,
        shared_noise=arguments.between != "samples",
    )
    folder = outputs.folder
    if trained.runtime.is_main:
        outputs.begin()
        strips = ways if ends is None else torch.cat([ends[0][:, None], ways, ends[1][:, None]], 1)
        save(grid(strips.flatten(0, 1), strips.shape[1]), folder / "strips.png", smallest=640)
        outputs.end()
        drawn = "" if label is None else f" of class {trained.name_of(label)}"
        ways_of = f"{len(ways)} ways of {arguments.frames} images{drawn}"
        by = named(trained.generation.sampler)
        print(f"{ways_of}, step {trained.step:,}, by {by}, in {folder}/strips.png")
    trained.runtime.finish()
    return 0
