"""Sample a composition: of classes with weights, also negative ones, and of several trained runs."""

from __future__ import annotations

import argparse
import json

from modules.core.checks import ConfigurationError
from modules.tasks import _options


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of composition."""
    add = parser.add_argument
    add(
        "--labels",
        nargs="+",
        default=[],
        metavar="CLASS",
        help='classes, such as colour=red "place=upper left"',
    )
    add(
        "--label-weights",
        nargs="+",
        type=float,
        metavar="W",
        help="one a class: 1 conditions on it, more makes it surer, less than 0 means not this (default 1)",
    )
    add(
        "--with",
        nargs="+",
        default=[],
        metavar="DIR",
        dest="others",
        help="runs to be multiplied with --run's",
    )
    add("--run-weights", nargs="+", type=float, metavar="W", help="one a run, --run's first (default 1)")
    add(
        "--mix",
        action="store_true",
        help="this or that: the mixture of the classes or runs, weights its shares, for runs of a "
        "NormalizedEnergy (default: their product)",
    )
    add(
        "--without",
        metavar="CLASS",
        help="anything but this class, boundedly, for runs of a NormalizedEnergy",
    )
    add("--strength", type=float, default=1.0, metavar="W", help="of --without (default 1)")
    add("--num", type=int, default=64, help="how many images (default 64)")
    _options.add_run_options(parser)
    _options.add_quality(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write grid.png, samples.npz (`images`) and what was composed, compose.json."""
    _options.at_least_one(arguments, "num")
    labels, others = arguments.labels, arguments.others
    if not labels and not others and arguments.without is None:
        raise ConfigurationError("--task compose needs --labels, or other runs --with, to compose")
    if arguments.mix and bool(labels) == bool(others):
        raise ConfigurationError("--mix takes --labels or other runs --with, not both")
    if arguments.without is not None and (labels or others):
        raise ConfigurationError("--without stands by itself: leave --labels and --with out")
    label_weights = _weights("--label-weights", arguments.label_weights, "class", len(labels))
    run_weights = _weights("--run-weights", arguments.run_weights, "run", 1 + len(others))

    import numpy as np

    from modules import runs
    from modules.data.quantization import to_bytes
    from modules.report.pictures import save_samples
    from modules.report.protocol import described, named

    trained = _options.load_run(arguments)
    if others:
        code = {"imports": arguments.imports, "trust_imports": arguments.trust_imports}
        loaded = [runs.load(folder, weights=arguments.weights, **code) for folder in others]
        compose = trained.mixed_with if arguments.mix else trained.composed_with
        trained = compose(loaded, run_weights)
    conditions = [trained.label_of(name) for name in labels]
    excluded = None if arguments.without is None else trained.label_of(arguments.without)
    if conditions:
        condition = trained.with_any if arguments.mix else trained.with_conditions
        trained = condition(conditions, label_weights)
    if excluded is not None:
        trained = trained.without(excluded, arguments.strength)
    names = ("grid.png", "samples.npz", "compose.json")
    outputs = _options.outputs(arguments, f"composed_seed{arguments.seed}", ("seed",), names, trained)
    drawn = trained.generate(
        arguments.num, seed=arguments.seed, batch_size=arguments.batch_size, progress=True
    )
    folder = outputs.folder
    if trained.runtime.is_main:
        outputs.begin()
        shown = slice(64)
        save_samples(drawn.x[shown], [level[shown] for level in drawn.levels], folder / "grid.png")
        np.savez(folder / "samples.npz", images=(to_bytes(drawn.x) if drawn.x.ndim == 4 else drawn.x).numpy())
        composed = {
            "labels": [[trained.name_of(c), w] for c, w in zip(conditions, label_weights, strict=True)],
            "runs": [[str(name), w] for name, w in zip([arguments.run, *others], run_weights, strict=True)],
            "mixture": arguments.mix,
            "without": arguments.without,
            "seed": arguments.seed,
            "sampler": described(trained.generation.sampler),
        }
        (folder / "compose.json").write_text(json.dumps(composed, indent=1) + "\n")
        outputs.end()
        classes = f" of {', '.join(map(trained.name_of, conditions))}" if conditions else ""
        by = named(trained.generation.sampler)
        print(f"{arguments.num} samples{classes} of step {trained.step:,} by {by} in {folder}")
    trained.runtime.finish()
    return 0


def _weights(option: str, given: list[float] | None, what: str, count: int) -> list[float]:
    """One a part, 1 where none are given."""
    if given is None:
        return [1.0] * count
    if len(given) != count:
        raise ConfigurationError(f"{option} needs one weight for each {what}, {count}, got {len(given)}")
    return given
