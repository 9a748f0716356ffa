"""Show the energy: over the plane at each level, animated over training; or between two images."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import ConfigurationError, DataError
from modules.tasks import _options

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from modules.analysis.landscape import Plane
    from modules.runs import Run
    from modules.storage.outputs import Outputs


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of landscapes."""
    add = parser.add_argument
    add("--levels", metavar="S,S", help="of the plane, such as 0,3,6 (default: all)")
    add("--resolution", type=int, default=120, help="cells a side of the plane (default 120)")
    add("--num", type=int, default=1000, help="samples drawn over it (default 1000)")
    add("--animate", action="store_true", help="also a GIF over the checkpoints of the run (points)")
    add(
        "--between",
        nargs=2,
        metavar="IMAGE",
        help="two images of the line (images): indices of the run's data, or files (default 0 1)",
    )
    add("--points", type=int, default=101, help="of the line (default 101)")
    add("--label", metavar="CLASS", help="class number or name (default: no label)")
    _options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write landscape.png, landscape.npz and with --animate landscape.gif; or line.png and line.csv."""
    if min(arguments.resolution, arguments.num, arguments.points - 1) < 1:
        raise ConfigurationError("--resolution and --num must be at least 1, --points at least 2")

    from modules.storage import checkpoints

    trained = _options.load_run(arguments)
    _label(trained, arguments)  # a wrong one is refused before anything is computed
    if len(trained.data.shape) == 3:
        if arguments.animate or arguments.levels:
            raise ConfigurationError("--animate and --levels are for points; the run's data are images")
        outputs = _options.outputs(arguments, "landscape", (), ("line.png", "line.csv"), trained)
        _line(trained, arguments, outputs)
    elif trained.data.shape == (2,):
        if arguments.between:
            raise ConfigurationError("--between is for images; the run's data are points")
        levels = _levels(arguments.levels, trained.method.schedule.num_levels)
        passed = checkpoints.of_run(Path(arguments.run)) if arguments.animate else []
        names = ["landscape.png", "landscape.npz", *(["landscape.gif"] if passed else [])]
        outputs = _options.outputs(arguments, "landscape", (), names, trained)
        _planes(trained, arguments, levels, passed, outputs)
    else:
        raise ConfigurationError(
            f"the run's data have the shape {trained.data.shape}: not a plane's, nor images"
        )
    trained.runtime.finish()
    return 0


def _levels(text: str | None, num_levels: int) -> list[int]:
    if text is None:
        return list(range(num_levels))
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not part.isdecimal() or int(part) >= num_levels]
    if wrong:
        raise ConfigurationError(f"--levels {text}: the run has levels 0..{num_levels - 1}, not {wrong[0]!r}")
    return [int(part) for part in parts]


def _drawn(trained: Run, arguments: argparse.Namespace) -> str:
    """The class, for the last line."""
    label = _label(trained, arguments)
    return "" if label < 0 else f", class {trained.name_of(label)}"


def _label(trained: Run, arguments: argparse.Namespace) -> int:
    if arguments.label is None:
        return -1
    labels = trained.labels(trained.label_of(arguments.label), 1)
    assert labels is not None
    return int(labels[0])


def _planes(
    trained: Run, arguments: argparse.Namespace, levels: list[int], passed: list[Path], outputs: Outputs
) -> None:
    """The picture of the run's checkpoint, the arrays, and the frames of the checkpoints passed."""
    import numpy as np
    import torch
    from tqdm.auto import tqdm

    from modules.report.landscape_pictures import save_animation

    examples = trained.open_data()
    radius = float(examples.rows(torch.arange(min(1000, len(examples))))[0].abs().max())
    is_main = trained.runtime.is_main
    bar = tqdm(total=1 + len(passed), unit="checkpoint", disable=not is_main)
    planes, picture = _one(trained, arguments, levels, radius, [])
    bar.update()
    peaks = [float(at.density.max()) for at in planes]
    frames = []
    for path in passed:
        frames.append(
            _one(_options.load_run(arguments, checkpoint=path), arguments, levels, radius, peaks)[1]
        )
        bar.update()
    bar.close()
    if is_main:
        folder = outputs.folder
        outputs.begin()
        picture.save(folder / "landscape.png")
        np.savez(
            folder / "landscape.npz",
            levels=np.array(levels),
            extents=np.array([at.extent for at in planes]),
            log_density=np.stack([at.values.numpy() for at in planes]),
        )
        if frames:
            save_animation(frames, folder / "landscape.gif")
        outputs.end()
        made = f"landscape.png, landscape.npz{', landscape.gif' if frames else ''}"
        print(f"{folder}{_drawn(trained, arguments)}: {made}")


def _one(
    trained: Run, arguments: argparse.Namespace, levels: list[int], radius: float, peaks: list[float]
) -> tuple[list[Plane], Image]:
    """The planes of one checkpoint and their picture; without peaks, by their own."""
    from modules.analysis.landscape import plane, window
    from modules.report.landscape_pictures import planes_picture

    method, label = trained.method, _label(trained, arguments)
    planes = []
    for level in levels:
        extent = window(method.schedule, level, radius)
        planes.append(
            plane(
                trained.generation.guidance,
                method.energy,
                method.schedule,
                level,
                extent,
                arguments.resolution,
                trained.runtime.device,
                label,
            )
        )
    walk = trained.generate(
        arguments.num, None if label < 0 else label, seed=arguments.seed, batch_size=arguments.batch_size
    ).levels
    samples = [walk[len(walk) - 1 - level] for level in levels]
    peaks = peaks or [float(at.density.max()) for at in planes]
    return planes, planes_picture(planes, samples, peaks, f"step {trained.step:,}")


def _line(trained: Run, arguments: argparse.Namespace, outputs: Outputs) -> None:
    """The energies between two images."""
    from modules.analysis.landscape import line
    from modules.report.landscape_pictures import save_line

    given = arguments.between or ("0", "1")
    device, label = trained.runtime.device, _label(trained, arguments)
    first, second = (_image(trained, name).to(device) for name in given)
    method = trained.method
    x, energies = line(
        trained.generation.guidance, method.energy, method.schedule, first, second, arguments.points, label
    )
    if trained.runtime.is_main:
        folder = outputs.folder
        outputs.begin()
        save_line(x.cpu(), energies, folder / "line.png")
        with (folder / "line.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["u", *(f"level_{level}" for level in range(len(energies)))])
            for n, row in enumerate(energies.T.tolist()):
                table.writerow([n / (len(x) - 1), *row])
        outputs.end()
        print(f"{folder}{_drawn(trained, arguments)}: line.png, line.csv")


def _image(trained: Run, name: str) -> Tensor:
    """An image of the run's data by its index, or of a file."""
    import torch

    from modules.data.images import read_image

    if name.isdecimal():
        examples = trained.open_data()
        if int(name) >= len(examples):
            raise ConfigurationError(
                f"--between {name}: the run's data have the images 0..{len(examples) - 1}"
            )
        return examples.rows(torch.tensor([int(name)]))[0][0]
    if not Path(name).is_file():
        raise DataError(f"--between {name}: there is no such file; an index is a whole number from 0")
    return read_image(Path(name), trained.data.shape)
