"""What the page computes: its controls' settings in, samples out. Knows nothing of pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.demo.watched import Report, watched
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.guidance.none import NoGuidance
from modules.runs import Run
from modules.sampling.draw import Draw
from modules.sampling.generation import Sampled
from modules.sampling.inpainting import check_known

IN_TURN, NO_CLASS = "in turn", "none"
"""Labels that are no class: one class after another, as `--task generate` has it; and none at all."""

MOST_IMAGES, MOST_POINTS, MOST_COMPLETIONS = 64, 10_000, 32


@dataclass(frozen=True)
class Settings:
    """What the controls of all tabs say.

    Attributes:
        seed: of all noise.
        label: a class's number, also where that is another one's name, or its name, IN_TURN or NO_CLASS.
        guidance: w; None: as the run is configured.
        steps: K per level; None: as configured.
        batch_size: images at once on a device.
    """

    seed: int = 0
    label: str = NO_CLASS
    guidance: float | None = None
    steps: int | None = None
    batch_size: int = 256


def most(run: Run) -> int:
    """The largest number of samples."""
    return MOST_IMAGES if is_of_images(run) else MOST_POINTS


def is_of_images(run: Run) -> bool:
    """Whether the samples are images (c, h, w); else they are points (d,)."""
    return len(run.energy.shape) == 3


def classes(run: Run) -> list[tuple[str, str]]:
    """Name and number of each class the model knows; the number is the name where the data tell none."""
    names = run.class_names
    return [(names[i] if i < len(names) else str(i), str(i)) for i in range(run.energy.num_classes)]


def configured_guidance(run: Run) -> float | None:
    """w of the run; None: without labels, or guided by something else."""
    guidance = run.generation.guidance
    if run.energy.num_classes == 0 or not isinstance(guidance, (ClassifierFreeGuidance, NoGuidance)):
        return None
    return guidance.scale if isinstance(guidance, ClassifierFreeGuidance) else 0.0


def configured_steps(run: Run) -> int | None:
    """K of the run's sampler; None: it has none to be changed."""
    return run.generation.sampler.num_steps


def sample(run: Run, num: int, settings: Settings, report: Report) -> Sampled:
    """Samples 0..num-1 of the seed: those of `--task generate` with the same options.

    Raises:
        ConfigurationError: settings that the model was not made for.
    """
    check_integer("the number of samples", num, low=1, high=most(run))
    labels = _labels(run, settings.label, num)
    ready = _ready(run, num, settings, report)
    return ready.generate(num, labels, settings.guidance, settings.seed, settings.batch_size)


def compose(
    run: Run, conditions: Sequence[tuple[str, float]], num: int, settings: Settings, report: Report
) -> Sampled:
    """Samples of a composition of classes, those of `--task compose` (spec §8).

    Args:
        conditions: classes and their weights w_k, below 0 for "not this".
        settings: of which label and guidance have no part in a composition.

    Raises:
        ConfigurationError: no condition, or settings that the model was not made for.
    """
    check_integer("the number of samples", num, low=1, high=most(run))
    if not conditions:
        raise ConfigurationError("a composition needs a class: choose one at least")
    for name, weight in conditions:
        check_number(f"the weight of {name}", weight)
    composed = run.with_conditions(
        [_class(run, name) for name, _ in conditions], [weight for _, weight in conditions]
    )
    return _ready(composed, num, settings, report).generate(
        num, seed=settings.seed, batch_size=settings.batch_size
    )


def inpaint(
    run: Run, image: Tensor, known: Tensor, completions: int, settings: Settings, report: Report
) -> Sampled:
    """Completions (k, c, h, w) of an image, and their levels: those of `--task inpaint` for the first image.

    Args:
        image: (c, h, w), in [-1, 1].
        known: (h, w) bool, False where it is to be found.

    Raises:
        ConfigurationError: nothing to be found, or settings that the model was not made for.
    """
    check_integer("the number of completions", completions, low=1, high=MOST_COMPLETIONS)
    if bool(known.all()):
        raise ConfigurationError("nothing is to be found: paint over a part of the image")
    labels = _labels(run, settings.label, completions)
    of_each = check_known(image[None], known, run.energy.shape).take(torch.zeros(completions).long())
    ready = _ready(run, completions, settings, report)
    draw = Draw.of_seed(settings.seed, completions, labels, of_each)
    return ready.draw(draw, settings.guidance, settings.batch_size)


def _labels(run: Run, label: str, num: int) -> Tensor | None:
    if label == NO_CLASS:
        return None
    if label != IN_TURN:
        return run.labels(_class(run, label), num)
    if run.energy.num_classes == 0:
        raise ConfigurationError("the run was trained without labels: there are no classes to take in turn")
    return torch.arange(num) % run.energy.num_classes


def _class(run: Run, label: str) -> int:
    """A class's number, which the page's lists of classes give; or else by its name."""
    return int(label) if label.isdecimal() else run.label_of(label)


def _ready(run: Run, num: int, settings: Settings, report: Report) -> Run:
    """The run with its chain steps as asked for, watched."""
    check_integer("the seed", settings.seed)
    if settings.guidance is not None:
        check_number("guidance", settings.guidance)
    if settings.steps is not None and settings.steps != configured_steps(run):
        run = run.with_steps(settings.steps)
    return watched(run, -(-num // settings.batch_size), report)
