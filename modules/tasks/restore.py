"""Restore images from blurred, shrunk or partly missing ones: pictures, errors, spread."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from modules.core.checks import ConfigurationError
from modules.tasks import _options

if TYPE_CHECKING:
    from torch import Tensor


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of restoration; `--set restore/Downsampling.factor=4` and the like set map and chain."""
    add = parser.add_argument
    add("--images", nargs="+", metavar="PATH", help="pictures or folders of them (default: the run's data)")
    add("--split", help='of the run\'s data, such as "test" (default: what it was trained on)')
    add("--num", type=int, default=8, help="how many images of the run's data (default 8)")
    add(
        "--map",
        default="Downsampling",
        metavar="CLASS",
        help="Downsampling (default), Blur, RandomPixels or one of your own",
    )
    add(
        "--sigma", type=float, default=0.1, help="standard deviation of the measurements' noise (default 0.1)"
    )
    add("--completions", type=int, default=8, help="restorations of each image (default 8)")
    add(
        "--settle",
        type=int,
        default=0,
        metavar="N",
        help="steps of an exact last chain at level 0, after a quarter as many of warm-up (default 0: none)",
    )
    add(
        "--sampler",
        default="Hamiltonian",
        metavar="CLASS",
        help="of that chain: Hamiltonian (default), AdjustedLangevin, UnderdampedLangevin",
    )
    add("--guidance", type=float, metavar="W", help="classifier-free guidance scale; 0 = conditional")
    _options.add_run_options(parser)
    _options.add_quality(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write restored.png and restore.json."""
    _options.need_run(arguments)
    _options.at_least_one(arguments, "num", "completions")
    if arguments.settle < 0 or not 0 < arguments.sigma < float("inf"):
        raise ConfigurationError("--settle must be at least 0, and --sigma above 0")

    import torch

    from modules.core.checks import check_instance
    from modules.core.noise import Noise
    from modules.report.pictures import grid, save
    from modules.report.protocol import described, named
    from modules.samplers.metropolis import MetropolisSampler
    from modules.sampling.inpainting import check_known, figures
    from modules.sampling.measuring import LinearMap

    map_name, chain_name = f"restore/{arguments.map}", f"restore/{arguments.sampler}"
    steps = {"num_steps": arguments.settle, "num_warmup": arguments.settle // 4}
    trained = _options.load_run(
        arguments, {map_name: {}, **({chain_name: steps} if arguments.settle else {})}
    )
    _options.need_images(trained, "restore")
    check_instance(f"--map {arguments.map}", trained.parts[map_name], LinearMap)
    if arguments.settle:
        check_instance(f"--sampler {arguments.sampler}", trained.parts[chain_name], MetropolisSampler)
    if arguments.split:
        trained.data = trained.data.with_split(arguments.split)
    outputs = _options.outputs(
        arguments, f"restored_seed{arguments.seed}", ("seed",), ("restored.png", "restore.json"), trained
    )
    images, _ = _options.images_of(arguments.images, arguments.num, trained)
    map, noise = trained.parts[map_name], Noise(arguments.seed, torch.arange(len(images)), stream="measured")
    clean = map(images)
    values = clean + arguments.sigma * noise.normal("noise", tuple(clean.shape[1:]))
    x = trained.restore(
        values,
        map,
        arguments.sigma,
        arguments.completions,
        None,
        arguments.guidance,
        arguments.seed,
        arguments.batch_size,
        trained.parts.get(chain_name),
        progress=True,
    )
    if trained.runtime.is_main:
        outputs.begin()
        folder = outputs.folder
        unknown = check_known(images, torch.zeros(images.shape[2:]), tuple(images.shape[1:]))
        found = figures(x.clamp(-1, 1), unknown)
        misfit = (map(x.flatten(0, 1)).unflatten(0, x.shape[:2]) - values[:, None]).flatten(1)
        found["misfit"] = misfit.square().mean(1).sqrt() / arguments.sigma
        means = {name: float(value.mean()) for name, value in found.items()}
        head = {"run": str(trained.folder), "step": trained.step, "set": arguments.overrides}
        names = ("map", "sigma", "completions", "settle", "sampler", "split", "guidance", "seed", "ladder")
        head |= {name: vars(arguments)[name] for name in names}
        head["generation"] = described(trained.generation)
        text = json.dumps(
            {**head, "mean": means, "each": {k: v.tolist() for k, v in found.items()}}, indent=1
        )
        (folder / "restore.json").write_text(text.replace("NaN", "null") + "\n", encoding="utf-8")
        page = torch.cat([images[:, None], _as_images(values, images)[:, None], x], 1)
        save(grid(page.flatten(0, 1), page.shape[1]), folder / "restored.png", smallest=640)
        outputs.end()
        print(", ".join(f"{name} {value:.3f}" for name, value in means.items()))
        by = named(trained.generation.sampler)
        print(f"truth, measured, restorations by {by} in {folder}: restored.png, restore.json")
    trained.runtime.finish()
    return 0


def _as_images(values: Tensor, images: Tensor) -> Tensor:
    """Measurements at the images' size, grey where they are no images."""
    import torch

    if values.ndim != 4 or values.shape[1] != images.shape[1]:
        return torch.zeros_like(images)
    return torch.nn.functional.interpolate(values, images.shape[2:])
