"""Measure a trained run's samples: FID and its relatives, with the protocol they were measured by."""

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modules.core.checks import ConfigurationError, nearest
from modules.tasks import _options

if TYPE_CHECKING:
    from modules.evaluation.evaluation import Evaluation
    from modules.report.measured import Measured


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of evaluation."""
    add = parser.add_argument
    add(
        "--metrics", metavar="A,B", help="such as fid,kid,is,prdc (default: those the run is configured with)"
    )
    add("--num", type=int, help="how many samples (default: the run's Evaluation.num)")
    add("--seed", type=int, default=0, help="of the samples: those that --task generate draws (default 0)")
    add("--repeats", type=int, default=1, help="measure this many seeds; gives mean and spread (default 1)")
    add(
        "--bootstrap",
        type=int,
        default=0,
        metavar="N",
        help="standard errors and 95%% intervals by N random halves of the samples, such as 100",
    )
    add("--label", metavar="CLASS", help="class number or name, of all samples; default: all classes in turn")
    add(
        "--guidance",
        nargs="+",
        type=float,
        metavar="W",
        help="classifier-free guidance scale, 0 = conditional; several are measured with the same seeds, and "
        "a table and curves show the values against them",
    )
    _options.add_ladder(parser)
    _options.add_quality(parser)
    add("--batch-size", type=int, help="samples at once on a device (default: the run's)")
    add("--statistics", metavar="NPZ", help="published statistics mu, sigma to compare with, for fid")
    add("--checkpoint", metavar="DIR", help='a checkpoint of the run, or "best" (default: the newest)')
    add("--weights", choices=("ema", "live"), default="ema", help="averaged or last weights (default ema)")
    _options.add_allow_changes(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the values and their protocol, and save both as JSON."""
    _options.need_run(arguments)
    if arguments.repeats < 1:
        raise ConfigurationError("--repeats must be at least 1")
    if arguments.bootstrap < 0 or arguments.bootstrap == 1:
        raise ConfigurationError("--bootstrap must be at least 2, or 0 for none")

    from modules import runs
    from modules.metrics.bootstrap import LEAST
    from modules.report.measured import averaged
    from modules.report.page import save_page

    # its modules may bring metrics; overrides may name what is to be measured, and by what
    saved = runs.saved_config(
        Path(arguments.run), arguments.overrides, arguments.imports, arguments.trust_imports
    )
    settings = ["Trainer.evaluation=@Evaluation()"]
    if arguments.metrics:
        settings.append(
            f"Evaluation.metrics=[{', '.join(f'@{name}()' for name in _classes(arguments.metrics))}]"
        )
    elif not runs.is_bound(saved, "Evaluation.metrics"):
        raise ConfigurationError("say what to measure: --metrics fid,kid")
    for key, value in (("num", arguments.num), ("batch_size", arguments.batch_size)):
        if value is not None:
            settings.append(f"Evaluation.{key}={value}")
    if arguments.statistics:
        settings.append(f"Evaluation.statistics={arguments.statistics!r}")
    if not runs.is_bound(saved, "Evaluation.extractor"):
        raise ConfigurationError(
            "the run's configuration names no extractor: add --set 'Evaluation.extractor=@InceptionV3()', "
            "@RawPixels() or another"
        )
    trained = runs.load(
        arguments.run,
        arguments.checkpoint,
        arguments.weights,
        [*settings, *arguments.overrides],
        arguments.imports,
        arguments.trust_imports,
        allow_changes=arguments.allow_changes,
    )
    trained = _options.settled(arguments, trained)
    evaluation = trained.evaluation
    if evaluation is None:
        raise ConfigurationError("--set Trainer.evaluation=None leaves nothing that measures: leave it out")
    if arguments.bootstrap and evaluation.num < LEAST:
        raise ConfigurationError(
            f"--bootstrap draws halves of at least {LEAST} samples, got --num {evaluation.num}"
        )
    scales = list(_options.guided(arguments, trained))
    label = None if arguments.label is None else trained.label_of(arguments.label)
    trained.labels(label, evaluation.num)  # before references are read
    folder = Path(arguments.output or Path(arguments.run) / "evaluations")
    path = folder / f"{_name(arguments, trained.step, evaluation, label)}.json"
    files = [path.name for path in _files(path, [scale for scale in scales if scale is not None])]
    outputs = _options.outputs_at(arguments, folder, {"file": path.stem}, files, trained)
    evaluator = trained.evaluator()
    place = {"label": trained.name_of(label)} if label is not None else {}
    place |= {"ladder": arguments.ladder} if arguments.ladder else {}
    place |= {"quality": arguments.quality} if arguments.quality else {}
    place |= {"set": arguments.overrides} if arguments.overrides else {}
    swept: dict[float, Measured] = {}
    for scale in scales:
        measured = averaged(
            [
                trained.evaluate(evaluator, seed, label, scale, arguments.bootstrap, True, place)
                for seed in range(arguments.seed, arguments.seed + arguments.repeats)
            ]
        )
        if scale is not None:
            swept[scale] = measured
        if trained.runtime.is_main:
            outputs.begin()
            measured.write(path if scale is None else _at_scale(path, scale))
    if trained.runtime.is_main:
        if len(swept) > 1:
            _write_sweep(path, swept, evaluation.values)
        else:
            print(measured.text())
            print(f"saved: {path if not swept else _at_scale(path, *swept)}")
        outputs.end()
        if arguments.output is None:
            save_page(trained.folder)
    trained.runtime.finish()
    return 0


def _name(arguments: argparse.Namespace, step: int, evaluation: Evaluation, label: int | None) -> str:
    """Of the file of values: what was measured, and the options that change values, where not as usual."""
    metrics = "-".join(metric.label for metric in evaluation.metrics)
    parts = [f"step_{step:08d}", metrics, f"n{evaluation.num}", f"seed{arguments.seed}"]
    if arguments.repeats > 1:
        parts.append(f"repeats{arguments.repeats}")
    if arguments.bootstrap:
        parts.append(f"bootstrap{arguments.bootstrap}")
    if label is not None:
        parts.append(f"label{label}")
    if arguments.ladder is not None:
        parts.append(f"ladder{arguments.ladder}")
    if arguments.quality is not None:
        parts.append(arguments.quality)
    if arguments.weights != "ema":
        parts.append(arguments.weights)
    if arguments.statistics:
        parts.append(f"against_{_told_apart(Path(arguments.statistics).expanduser())}")
    if arguments.overrides:  # of any kind: told apart by a hash, and listed in the file
        parts.append(f"set{zlib.crc32(repr(arguments.overrides).encode()):08x}")
    return "_".join(parts)


def _told_apart(file: Path) -> str:
    """A file by its name and its bytes: others of that name are others."""
    bytes_of = file.read_bytes() if file.is_file() else b""
    plain = re.sub(r"[^\w.+-]", "-", file.stem)
    return f"{plain}-{zlib.crc32(bytes_of):08x}"


def _files(path: Path, scales: Sequence[float]) -> list[Path]:
    """All that is written: the values, of several scales one file each, a table and curves."""
    found = [_at_scale(path, scale) for scale in scales] or [path]
    if len(scales) > 1:
        found += [_table(path, scales), _table(path, scales).with_suffix(".png")]
    return found


def _at_scale(path: Path, scale: float) -> Path:
    return path.with_name(f"{path.stem}_guidance{_options.plain_number(scale)}.json")


def _table(path: Path, scales: Sequence[float]) -> Path:
    several = "+".join(_options.plain_number(scale) for scale in scales)
    return path.with_name(f"{path.stem}_guidance{several}.csv")


def _write_sweep(path: Path, swept: dict[float, Measured], chief: list[str]) -> None:
    """The values of all scales as a table and as curves, beside the files of each with their protocol."""
    from modules.report import guidance_sweep

    table = _table(path, list(swept))
    guidance_sweep.save_table(swept, table)
    guidance_sweep.save_curves(swept, chief, table.with_suffix(".png"))
    print(guidance_sweep.text(swept))
    print(f"saved: {table}, {table.with_suffix('.png').name}, and each scale's values with their protocol")


def _classes(text: str) -> list[str]:
    """Names of the metrics' classes, from their labels."""
    from modules.metrics.base import Metric

    known: dict[str, str] = {}
    waiting: list[type] = [Metric]
    while waiting:
        kinds: list[type] = waiting.pop().__subclasses__()
        waiting += kinds
        known |= {vars(kind)["label"]: kind.__name__ for kind in kinds if "label" in vars(kind)}
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"--metrics: there is no metric {name!r}.{nearest(name, list(known))} "
                f"Metrics: {', '.join(sorted(known))}"
            )
    return [known[name] for name in names]
