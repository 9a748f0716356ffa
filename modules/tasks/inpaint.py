"""Complete images of which a part is known: many completions each, as pictures and in numbers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import ConfigurationError
from modules.tasks import _options

if TYPE_CHECKING:
    from torch import Tensor

    from modules.features.base import Features
    from modules.runs import Run

OWN = "own"


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of inpainting."""
    from modules.sampling.masks import NAMES

    add = parser.add_argument
    add("--images", nargs="+", metavar="PATH", help="pictures or folders of them (default: the run's data)")
    add("--num", type=int, default=8, help="how many images of the run's data (default 8)")
    names = "; ".join(f"{name}: {meaning}" for name, meaning in NAMES.items())
    add(
        "--mask",
        nargs="+",
        default=["left"],
        metavar="MASK",
        help=f"names, or pictures of the images' size, white = known (default left). {names}",
    )
    add("--completions", type=int, default=8, help="of each image (default 8)")
    add(
        "--label", metavar="CLASS", help=f'class of all, or "{OWN}": each image\'s in the data (default none)'
    )
    add("--guidance", type=float, metavar="W", help="classifier-free guidance scale; 0 = conditional")
    _options.add_run_options(parser)
    _options.add_quality(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write a picture for each mask, and the numbers of all in inpaint.json."""
    _options.at_least_one(arguments, "num", "completions")
    _check_names(arguments.mask)

    import torch

    from modules.data.quantization import to_bytes
    from modules.metrics.perceptual import perceptual_figures
    from modules.report.pictures import grid, save
    from modules.report.protocol import described, named
    from modules.sampling import masks
    from modules.sampling.inpainting import check_known, figures

    trained = _options.load_run(arguments)
    _options.need_images(trained, "inpaint")
    trained.guided(arguments.guidance)
    images, own = _options.images_of(arguments.images, arguments.num, trained)
    label = _label(arguments.label, own, trained, len(images))
    shape = trained.data.shape
    given = {
        Path(mask).stem: check_known(images, masks.of(mask, len(images), shape, arguments.seed), shape)
        for mask in arguments.mask
    }
    features = _features(trained, arguments.overrides)
    names = [*(f"{name}.png" for name in given), "inpaint.json"]
    outputs = _options.outputs(arguments, f"inpainted_seed{arguments.seed}", ("seed",), names, trained)
    folder, results = outputs.folder, {}
    for name, known in given.items():
        x = trained.inpaint(
            known.image,
            known.mask,
            arguments.completions,
            label,
            arguments.guidance,
            arguments.seed,
            arguments.batch_size,
            progress=True,
        )
        found = figures(x.clamp(-1, 1), known)
        if features is not None:
            found |= perceptual_figures(to_bytes(x), to_bytes(known.image), features, trained.runtime.device)
        results[name] = _summary(found)
        if trained.runtime.is_main:
            outputs.begin()
            blank = known.keep(known.image, torch.zeros_like(known.image))
            page = torch.cat([known.image[:, None], blank[:, None], x], 1)
            save(grid(page.flatten(0, 1), page.shape[1]), folder / f"{name}.png", smallest=640)
            mean = {
                key: "none" if v["mean"] is None else f"{v['mean']:.3f}" for key, v in results[name].items()
            }
            print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in mean.items()))
    if trained.runtime.is_main:
        classes = None if label is None else _options.classes_of(trained, label)
        head = {"run": str(trained.folder), "step": trained.step, "seed": arguments.seed}
        head |= {
            "completions": arguments.completions,
            "label": classes,
            "guidance": arguments.guidance,
            "sampler": described(trained.generation.sampler),
            "features": features.protocol if features else None,
        }
        (folder / "inpaint.json").write_text(json.dumps({**head, "masks": results}, indent=1) + "\n")
        outputs.end()
        print(
            f"{len(images)} images{f', {classes}' if classes else ''}, of step {trained.step:,}, by "
            f"{named(trained.generation.sampler)}: truth, what is known, completions, in {folder}"
        )
    trained.runtime.finish()
    return 0


def _check_names(given: list[str]) -> None:
    """Raise where two masks would share a picture: it and the numbers are named by the mask's stem."""
    first: dict[str, str] = {}
    for mask in given:
        stem = Path(mask).stem
        other = first.get(stem)
        first[stem] = mask
        if other is not None:
            raise ConfigurationError(
                f"--mask {other} {mask}: both would be written as {stem}.png: rename one, "
                "or give them in two calls with --output"
            )


def _features(trained: Run, overrides: list[str]) -> Features | None:
    """The network of perceptual distances; without one that can be had they are left out, and it's said."""
    from modules.core.checks import CheckpointError

    wanted = any("Evaluation.extractor" in setting for setting in overrides)
    try:
        if trained.extractor is None:
            raise ConfigurationError("the run names no Evaluation.extractor")
        features = trained.extractor.open(trained.data.shape, trained.runtime.device)
        if features.maps is None:
            raise ConfigurationError(
                f"{features.protocol['extractor']} names no layers to compare (ModuleFeatures.layers)"
            )
    except (CheckpointError, ConfigurationError) as fault:
        if wanted:
            raise
        if trained.runtime.is_main:
            print(f"no perceptual distance: {fault}")
        return None
    return features


def _label(given: str | None, own: Tensor | None, trained: Run, num: int) -> Tensor | None:
    """Labels (num,) of the images, or None."""
    if given is None:
        return None
    if given != OWN or OWN in trained.class_names:
        return trained.labels(trained.label_of(given), num)
    if own is None:
        raise ConfigurationError(
            f"--label {OWN} needs images of the run's own data, with one label each: name a class instead"
        )
    return trained.labels(own, num)


def _summary(found: dict[str, Tensor]) -> dict[str, dict[str, object]]:
    """Each figure's mean over the images and its values; JSON knows no infinity: null where not finite."""
    plain = {}
    for name, values in found.items():
        numbers = [*values.tolist(), float(values.mean())]
        each = [round(v, 5) if abs(v) < float("inf") else None for v in numbers]
        plain[name] = {"mean": each[-1], "each": each[:-1]}
    return plain
