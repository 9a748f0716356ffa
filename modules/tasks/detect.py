"""Score images for being outliers: a table, how well inliers and other sets are told apart, histograms."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.core.checks import ConfigurationError, nearest
from modules.tasks import _options

if TYPE_CHECKING:
    from torch import Tensor

    from modules.data.base import Data
    from modules.runs import Run

MADE = ("uniform", "gaussian", "inverted", "interpolated", "constant", "shuffled", "shifted")
INLIERS = "inliers"
_SCOPE = re.compile(r"([a-zA-Z_]\w*\.)*[a-zA-Z_]\w*")  # as gin has it


def add_arguments(parser: argparse._ArgumentGroup) -> None:
    """Options of detection. A set is a path, a Hub name, @CLASS of gin, or made from the inliers."""
    add = parser.add_argument
    add(
        "--against",
        action="append",
        default=[],
        metavar="NAME[=SET]",
        help=f"outliers: {', '.join(MADE)} (of the inliers), or NAME=PATH, NAME=HUB_NAME, NAME=@CLASS, "
        'whose settings are --set "NAME/CLASS.x=..." (repeatable)',
    )
    add("--inliers", metavar="SET", help="PATH, HUB_NAME or @CLASS, scope inliers (default: the run's data)")
    add(
        "--score",
        action="append",
        default=[],
        metavar="CLASS",
        help="EnergyScore (default), NoisyEnergyScore, DenoisingScore, GradientNormScore, LikelihoodScore, "
        "TypicalityScore or one of your own; "
        "far/NoisyEnergyScore takes settings of the scope far (repeatable)",
    )
    add("--num", type=int, default=1000, help="images of each set, chosen at random (default 1000)")
    add(
        "--via", type=int, metavar="SIZE", help="bring all sets to SIZE x SIZE and back first, for equal blur"
    )
    _options.add_run_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write scores.csv, detection.json, areas.md and histograms.png, and print the areas."""
    against = _check(arguments)

    from modules.analysis.detection import separation

    sources = {INLIERS: arguments.inliers, **against}
    named = {name: _component(name, source) for name, source in sources.items()}
    components = {name: component for name, component in named.items() if component}
    scored = arguments.score or ["EnergyScore"]
    trained = _options.load_run(arguments, {name: {} for name in (*components.values(), *scored)})
    for name in scored:
        _check_score(name, trained)
    sets = {
        name: _data(trained, source, components.get(name))
        for name, source in sources.items()
        if source not in MADE
    }
    names = ("scores.csv", "detection.json", "areas.md", "histograms.png")
    outputs = _options.outputs(arguments, "detection", (), names, trained)
    images = _images(
        trained, sets, {name: source for name, source in against.items() if source in MADE}, arguments
    )
    unequal = [] if arguments.via else _unequal(sets)
    _fit(trained, scored, arguments)
    values = _scores(trained, scored, images, arguments)
    results = {
        name: {other: separation(of[INLIERS], of[other]) for other in against} for name, of in values.items()
    }
    if trained.runtime.is_main:
        folder = outputs.folder
        outputs.begin()
        _write(folder, arguments, trained, values, results, unequal)
        outputs.end()
        for name, of in results.items():
            for other, figures in of.items():
                print(f"{name} {other}:", *(f"{key} {value:.3f}" for key, value in figures.items()))
        print("\n".join(_areas(results)))
        print(f"{folder}: scores.csv, detection.json, areas.md, histograms.png")
    trained.runtime.finish()
    return 0


def _check(arguments: argparse.Namespace) -> dict[str, str]:
    """The sets of outliers, name -> source."""
    _options.need_run(arguments)
    if arguments.inliers in MADE:
        raise ConfigurationError(
            f"--inliers {arguments.inliers}: it is made from inliers: give a PATH, HUB_NAME or @CLASS"
        )
    if min(arguments.num, arguments.batch_size) < 1 or (arguments.via is not None and arguments.via < 1):
        raise ConfigurationError("--num, --batch-size and --via must be at least 1")
    found = _outliers(arguments.against)
    named = [(f"--score {name}", name) for name in arguments.score]
    named += [
        (f"--against {name}={source}", _component(name, source) or "") for name, source in found.items()
    ]
    named.append((f"--inliers {arguments.inliers}", _component(INLIERS, arguments.inliers) or ""))
    for option, component in named:
        _check_scope(option, component)
    return found


def _outliers(against: list[str]) -> dict[str, str]:
    """The sets that --against names, name -> source."""
    found: dict[str, str] = {}
    for given in against:
        name, equals, source = given.partition("=")
        if not equals and name not in MADE:
            raise ConfigurationError(
                f"--against {given}: give NAME=PATH, or one of {', '.join(MADE)}.{nearest(name, MADE)}"
            )
        if name in (*found, INLIERS) or not name or (equals and not source):
            raise ConfigurationError(f"--against {given}: each set needs a name of its own, and a source")
        found[name] = source if equals else name
    if not found:
        raise ConfigurationError(f"nothing to detect: name sets by --against NAME=PATH, or {', '.join(MADE)}")
    return found


def _component(name: str, source: str | None) -> str | None:
    """scope/CLASS of a set's @CLASS, whose scope is the set's name; None: it comes from elsewhere."""
    return f"{name}/{source[1:]}" if source and source.startswith("@") else None


def _check_scope(option: str, component: str) -> None:
    """Raise where the scope of scope/CLASS is none in which settings could be given."""
    *scopes, _ = component.split("/")
    wrong = [scope for scope in scopes if not _SCOPE.fullmatch(scope)]
    if wrong:
        raise ConfigurationError(
            f"{option}: {wrong[0]!r} cannot be the scope of settings: name it in letters, digits and _"
        )


def _check_score(name: str, trained: Run) -> None:
    from modules.contracts.signatures import check_signatures
    from modules.core.checks import check_instance
    from modules.scores.base import Score

    check_instance(f"--score {name}", trained.parts[name], Score)
    check_signatures(trained.parts[name])
    trained.parts[name].check(trained.networks)


def _data(trained: Run, source: str | None, component: str | None) -> Data:
    """A set, unopened, of the run's shape."""
    from modules.core.checks import check_instance
    from modules.data.base import Data
    from modules.data.hub import HuggingFaceData

    if source is None:
        return trained.data
    if component is None:
        return HuggingFaceData(source, trained.data.shape)
    data = trained.parts[component]
    check_instance(component, data, Data)
    if data.shape != trained.data.shape:
        raise ConfigurationError(f"{component} has the shape {data.shape}, the run {trained.data.shape}")
    return data


def _images(
    trained: Run, sets: Mapping[str, Data], made: Mapping[str, str], arguments: argparse.Namespace
) -> dict[str, Tensor]:
    """The images of each set, the inliers first; all by way of the same size where one is given."""
    from modules.analysis.detection import by_way_of, chosen, make

    found = {}
    for name, data in sets.items():
        examples = trained.open_data() if data is trained.data else data.open()
        found[name] = examples.rows(chosen(examples, arguments.num, arguments.seed))[0]
    found |= {name: make(source, found[INLIERS], arguments.seed) for name, source in made.items()}
    return {name: by_way_of(x, arguments.via) if arguments.via else x for name, x in found.items()}


def _unequal(sets: Mapping[str, Data]) -> list[str]:
    """Sets whose images were resized from other sizes than the inliers': their area may be the resize's."""
    from modules.data.sizes import original_sizes

    sizes = {name: original_sizes(data) for name, data in sets.items()}
    wrong = [name for name, found in sizes.items() if found != sizes[INLIERS]]
    for name in wrong:
        print(
            f"warning: {name} comes from images of {_text(sizes[name])}, the inliers from "
            f"{_text(sizes[INLIERS])}: unequal resizing alone can tell them apart; --via SIZE makes it equal",
            file=sys.stderr,
        )
    return wrong


def _text(sizes: set[tuple[int, ...]]) -> str:
    return "several sizes" if len(sizes) > 1 else "x".join(map(str, next(iter(sizes))))


def _fit(trained: Run, scored: list[str], arguments: argparse.Namespace) -> None:
    """Scores that compare with what is usual learn it from a batch of the run's own data."""
    from modules.analysis.detection import chosen, fit
    from modules.scores.base import Score

    learning = [name for name in scored if type(trained.parts[name]).fit is not Score.fit]
    if learning:
        examples = trained.data.open()
        images, _ = examples.rows(
            chosen(examples, min(arguments.num, arguments.batch_size), arguments.seed + 1)
        )
        for name in learning:
            fit(trained.parts[name], trained.networks, images, trained.runtime, arguments.seed)


def _scores(
    trained: Run, scored: list[str], images: Mapping[str, Tensor], arguments: argparse.Namespace
) -> dict[str, dict[str, Tensor]]:
    """Score -> set -> (n,) float64; the images are shared out among the processes."""
    import torch
    from tqdm.auto import tqdm

    from modules.analysis.detection import scores

    runtime = trained.runtime
    total = len(scored) * sum(len(x[runtime.rank :: runtime.num_processes]) for x in images.values())
    bar = tqdm(total=total, unit="img", disable=not runtime.is_main)
    found: dict[str, dict[str, Tensor]] = {}
    for name in scored:
        found[name] = {}
        for other, x in images.items():
            mine = torch.arange(len(x))[runtime.rank :: runtime.num_processes]
            parts: list[Tensor] = []
            score = trained.parts[name]
            for values in scores(
                score, trained.networks, x[mine], runtime, arguments.batch_size, arguments.seed
            ):
                parts.append(values)
                bar.update(len(values))
            pieces = runtime.gather_objects([(mine, torch.cat([torch.zeros(0).double(), *parts]))])
            order = torch.cat([index for index, _ in pieces]).argsort()
            found[name][other] = torch.cat([values for _, values in pieces])[order]
    bar.close()
    return found


def _areas(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """All areas as one table: a row a score, a column a set."""
    others = list(next(iter(results.values())))
    lines = [["AUROC against", *others], ["---"] * (1 + len(others))]
    lines += [
        [f"`{name}`", *(f"{of[other]['auroc']:.3f}" for other in others)] for name, of in results.items()
    ]
    return [f"| {' | '.join(line)} |" for line in lines]


def _write(
    folder: Path,
    arguments: argparse.Namespace,
    trained: Run,
    values: Mapping[str, Mapping[str, Tensor]],
    results: Mapping[str, Mapping[str, Mapping[str, float]]],
    unequal: list[str],
) -> None:
    from modules.report.histograms import save_histograms

    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["set", "index", *values])
        for name in next(iter(values.values())):
            columns = [of[name].tolist() for of in values.values()]
            table.writerows([name, n, *row] for n, row in enumerate(zip(*columns, strict=True)))
    settings: dict[str, Any] = {"run": str(trained.folder), "step": trained.step}
    settings |= {key: vars(arguments)[key] for key in ("inliers", "against", "num", "via", "seed", "weights")}
    settings |= {"set": arguments.overrides, "unequal_resize": unequal, "separation": results}
    (folder / "detection.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    (folder / "areas.md").write_text("\n".join(_areas(results)) + "\n", encoding="utf-8")
    areas = {name: {other: f["auroc"] for other, f in of.items()} for name, of in results.items()}
    save_histograms(values, areas, folder / "histograms.png")
