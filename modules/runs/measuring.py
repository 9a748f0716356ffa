"""What a model's samples are worth beside its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from modules.core.checks import ConfigurationError, check_instance
from modules.evaluation.evaluation import Evaluation, Evaluator
from modules.report.measured import Measured
from modules.runs.model import Model


def evaluator(model: Model, evaluation: Evaluation | None = None) -> Evaluator:
    """An evaluation, opened on a model's data; None: the model's own.

    Raises:
        ConfigurationError: there is none. UserError: what can't be measured.
    """
    evaluation = model.evaluation if evaluation is None else evaluation
    if evaluation is None:
        raise ConfigurationError(
            f"{model.name} has no evaluation: say what to measure, Evaluation(metrics, ...)"
        )
    check_instance("evaluation", evaluation, Evaluation)
    examples = None if evaluation.reference else model.open_data()
    return evaluation.open(model.data, model.runtime, model.energy.num_classes, examples)


def evaluate(
    model: Model,
    by: Evaluation | Evaluator | None = None,
    seed: int = 0,
    label: int | Sequence[int] | Tensor | None = None,
    guidance: float | None = None,
    bootstrap: int = 0,
    progress: bool = False,
    place: Mapping[str, Any] | None = None,
) -> Measured:
    """The values of the samples that `generate` draws for the seed, with the protocol of their measurement.

    Args:
        by: what is measured, opened (`evaluator`) where it is asked for again and again; None: the model's.
        label: one class for all, or one each, -1 = none; None: all classes in turn.
        guidance: as of generate.
        bootstrap: random halves of the samples that standard errors are estimated by; 0: none are.
        progress: whether to show a bar. place: what else the protocol says.

    Raises:
        UserError: what can't be measured, or is missing. DataError: samples that aren't finite.
    """
    opened = by if isinstance(by, Evaluator) else evaluator(model, by)
    return opened(
        model.guided(guidance),
        model.networks,
        seed,
        {"run": model.name, "step": model.step, "weights": model.weights, **(place or {})},
        model.labels(label, opened.evaluation.num),
        progress,
        bootstrap,
    )
