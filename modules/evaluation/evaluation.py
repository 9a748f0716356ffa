"""Measuring the samples of a model: which metrics, by which features, of how many, against what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gin
import torch
from torch import Tensor

from modules.analysis.landscape import log_density
from modules.core.checks import ConfigurationError, DataError, check_instance, check_integer
from modules.core.fingerprints import is_the_projects
from modules.data.base import Data, Examples
from modules.data.given import as_labels
from modules.data.points import Points
from modules.energies.base import Energy
from modules.evaluation.references import check_classes, check_metrics, fill, prepared, published
from modules.features.base import Extractor, Features
from modules.features.views import Views
from modules.guidance.none import NoGuidance
from modules.methods.networks import Networks
from modules.metrics.base import Metric, SetMetric
from modules.metrics.bootstrap import standard_errors
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.fid import FID
from modules.metrics.grid_kl import GridKL
from modules.metrics.rows import Rows
from modules.report.measured import Measured
from modules.report.protocol import described
from modules.runtime.runtime import Runtime
from modules.runtime.signals import SamplingStoppedError
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.sampling.indexed import diverged, level_bar, not_finite, sample_batches
from modules.schedules.base import Schedule


@gin.register
class Evaluation:
    """Metrics of samples beside a data set.

    Args:
        metrics: what is measured.
        extractor: of the features, and of the class probabilities of the Inception score.
        classifier: by which class_accuracy, recognised and mode_mass tell classes; None: the extractor.
        num: samples; of fewer than 10,000 some metrics are biased, and labelled so.
        every: steps between evaluations during training; 0: only when asked for by --task evaluate.
        reference: the data set to compare with; None: the run's own.
        num_references: examples of it, spread over all of it; None: all.
        statistics: an .npz with the reference's mu and sigma, for FID; None: computed from the reference.
        batch_size: samples at once on a device.
    """

    path_parameters = ("statistics",)

    def __init__(
        self,
        metrics: Sequence[Metric],
        extractor: Extractor,
        num: int = 10_000,
        every: int = 0,
        reference: Data | None = None,
        num_references: int | None = None,
        statistics: str | None = None,
        batch_size: int = 256,
        classifier: Extractor | None = None,
    ) -> None:
        check_instance("Evaluation.metrics", metrics, (list, tuple))
        for metric in metrics:
            check_instance("Evaluation.metrics' entries", metric, Metric)
        labels = [metric.label for metric in metrics]
        if not labels or len(set(labels)) < len(labels):
            raise ConfigurationError(f"Evaluation.metrics must be different metrics, got {labels}")
        check_instance("Evaluation.extractor", extractor, Extractor)
        check_integer("Evaluation.num", num, low=2)
        check_integer("Evaluation.every", every, low=0)
        check_instance("Evaluation.reference", reference, (Data, type(None)))
        if num_references is not None:
            check_integer("Evaluation.num_references", num_references, low=2)
        check_instance("Evaluation.statistics", statistics, (str, type(None)))
        if statistics is not None and "fid" not in labels:
            raise ConfigurationError("Evaluation.statistics are for fid, which isn't among the metrics")
        check_integer("Evaluation.batch_size", batch_size, low=1)
        check_instance("Evaluation.classifier", classifier, (Extractor, type(None)))
        self.metrics, self.extractor, self.num, self.every = list(metrics), extractor, num, every
        self.reference, self.num_references, self.statistics = reference, num_references, statistics
        self.batch_size, self.classifier = batch_size, classifier

    @property
    def values(self) -> list[str]:
        """The names of its chief values."""
        return [name for metric in self.metrics for name in metric.values or (metric.label,)]

    def open(
        self, data: Data, runtime: Runtime, num_classes: int = 0, examples: Examples | None = None
    ) -> Evaluator:
        """Get weights and references ready, on all processes together.

        Args:
            data: the run's; num_classes: the model's. examples: the run's data, where it is open already.

        Raises:
            UserError: what can't be measured, or is missing, before any sample is drawn.
        """
        data, examples = (self.reference, None) if self.reference else (data, examples)
        if runtime.is_main:
            views = self._views(data, runtime.device)  # which may fetch a file
        runtime.wait()
        if not runtime.is_main:
            views = self._views(data, runtime.device)
        check_metrics(self.metrics, views, num_classes)
        examples = examples or data.open()
        if any(isinstance(metric, ClassAccuracy) for metric in self.metrics):
            check_classes(examples, views, num_classes, runtime.device)
        return Evaluator(self, views, examples, num_classes, runtime)

    def _views(self, data: Data, device: torch.device) -> Views:
        features = _opened(self.extractor, data.shape, device)
        return Views(
            data, features, _opened(self.classifier, data.shape, device) if self.classifier else features
        )


def _opened(extractor: Extractor, shape: tuple[int, ...], device: torch.device) -> Features:
    """Features whose protocol says of a user's own extractor what the extractor may leave out."""
    features = extractor.open(shape, device)
    if is_the_projects(type(extractor)):
        return features
    return replace(features, protocol={**features.protocol, "settings": described(extractor)})


class Evaluator:
    """An opened `Evaluation`: measures a model as often as it is called."""

    def __init__(
        self,
        evaluation: Evaluation,
        views: Views,
        examples: Examples,
        num_classes: int,
        runtime: Runtime,
    ) -> None:
        self.evaluation, self.views = evaluation, views
        self.num_classes, self.runtime = num_classes, runtime
        sets = [metric for metric in evaluation.metrics if isinstance(metric, SetMetric)]
        self._published = published(evaluation.statistics) if evaluation.statistics else None
        own = [m for m in sets if not (self._published and isinstance(m, FID))]
        count = min(evaluation.num_references or len(examples), len(examples))
        for metric in sets:
            metric.clear()
        self.identity = fill(own, views, examples, count, evaluation.batch_size, runtime) if own else {}
        self._references = {metric.label: metric.references for metric in sets}
        if self._published:
            self._references["fid"] = self._published
            one = prepared(examples.rows(torch.tensor([0]))[0]).to(runtime.device)
            width, known = views.of(one, ["features"])["features"].shape[1], len(self._published.mean)
            if width != known:
                raise DataError(
                    f"{evaluation.statistics} is of {known} features, the extractor "
                    f"{views.features.protocol['extractor']} gives {width}"
                )

    def __call__(
        self,
        generation: Generation,
        networks: Networks,
        seed: int,
        place: Mapping[str, Any],
        labels: Tensor | None = None,
        progress: bool = False,
        bootstrap: int = 0,
    ) -> Measured:
        """Draw images 0..num-1 of a seed, shared out among the processes, and measure them.

        Args:
            place: what the protocol says of the weights: step, average.
            labels: (num,) classes asked for; None: a conditional model's classes in turn.
            progress: whether to show a bar.
            bootstrap: random halves of the samples that standard errors are estimated by; 0: none are.

        Returns:
            the same on every process.

        Raises:
            DataError: on every process, if samples of any aren't finite.
            SamplingStoppedError: on every process, after a signal to any.
        """
        evaluation, runtime = self.evaluation, self.runtime
        if labels is not None and any(metric.takes == "density" for metric in evaluation.metrics):
            raise ConfigurationError("grid_kl compares the densities of all classes: leave --label out")
        labels = None if labels is None else as_labels(labels, "labels")
        asked = labels
        if labels is None and self.num_classes:
            labels = torch.arange(evaluation.num) % self.num_classes
        draw = Draw.of_seed(seed, evaluation.num, labels)
        # first: what it can't say stops
        protocol = self._protocol(generation, networks.schedule, seed, place, asked)
        for metric in evaluation.metrics:
            metric.clear()
            self._give_references(metric)
        # in one order on all processes, which join the kept rows one kind after another
        kinds = sorted({metric.takes for metric in evaluation.metrics} - {"density"})
        kept = {kind: Rows() for kind in kinds} if bootstrap else {}
        mine = torch.arange(evaluation.num)[runtime.rank :: runtime.num_processes]
        size = evaluation.batch_size
        bar = level_bar(draw, len(mine), networks.schedule, size, progress and runtime.is_main)
        batches = sample_batches(generation, networks, draw, mine, runtime, size, (), bar.update)
        lost = 0
        stopped = False
        try:
            for index, drawn in batches:
                if bad := not_finite(drawn.x):
                    lost += bad
                    continue
                seen = self.views.of(prepared(drawn.x), kinds)
                for kind, rows in kept.items():
                    rows.add(seen[kind], index)
                for metric in evaluation.metrics:
                    if metric.takes in seen:
                        truth = None if isinstance(metric, SetMetric) or labels is None else labels[index]
                        metric.add_batch(predictions=seen[metric.takes], references=truth, indices=index)
        except SamplingStoppedError:
            stopped = True
        bar.close()
        # agreed on before anything is joined: no process waits for one that has stopped
        if runtime.any(stopped):
            raise SamplingStoppedError
        lost = int(runtime.sum(torch.tensor(lost, device=runtime.device)))
        if lost:
            raise diverged(lost, evaluation.num)
        for metric in evaluation.metrics:
            if isinstance(metric, GridKL):
                self._add_density(metric, networks.energy, networks.schedule)
        for rows in kept.values():
            rows.combine(runtime)
        values: dict[str, float] = {}
        notes: dict[str, str] = {}
        errors: dict[str, float] = {}
        for metric in evaluation.metrics:
            for store in metric.stores()[:1]:  # the references are whole already
                store.combine(runtime)
            found = metric.compute()
            values |= found
            if evaluation.num < metric.needs:
                note = f"biased: N = {evaluation.num:,} < {metric.needs:,}"
                notes |= {n: note for n in found if n != "fid_infinity" and not n.endswith("_real")}
            if metric.takes in kept:
                self._give_references(metric)
                x = kept[metric.takes].read()
                x, truth = x.long() if metric.takes == "modes" else x, None
                if not isinstance(metric, SetMetric):
                    truth = labels
                errors |= standard_errors(metric, x, truth, bootstrap, runtime, progress)
        if bootstrap:
            protocol["bootstrap"] = f"{bootstrap} random halves of the samples; the reference is kept"
        return Measured(values, protocol, notes, errors=errors)

    def _give_references(self, metric: Metric) -> None:
        if isinstance(metric, SetMetric):
            metric.references = self._references[metric.label]

    def _add_density(self, metric: GridKL, energy: Energy, schedule: Schedule) -> None:
        """This process's share of the grid: the model's log density at level 0, and the data's."""
        data, runtime = self.views.data, self.runtime
        assert isinstance(data, Points)  # see check_metrics
        grid = metric.grid()
        mine = torch.arange(len(grid))[runtime.rank :: runtime.num_processes]
        c = schedule.transition(torch.ones(1, dtype=torch.int64), torch.float64)
        points = grid[mine].float().to(runtime.device)
        with runtime.autocast():
            model = log_density(NoGuidance(), energy, schedule, 0, points)
        truth = data.log_density(grid[mine], float(c.alpha_s), float(c.sigma_s))
        metric.add_batch(predictions=model, references=truth, indices=mine)

    def _protocol(
        self,
        generation: Generation,
        schedule: Schedule,
        seed: int,
        place: Mapping[str, Any],
        asked: Tensor | None,
    ) -> dict[str, Any]:
        evaluation = self.evaluation
        in_turn = "in turn" if self.num_classes else "none"
        classes = in_turn if asked is None else sorted(set(asked.tolist()))
        reference: dict[str, Any] = dict(self.identity)
        if evaluation.statistics:
            reference["fid"] = f"published statistics {evaluation.statistics}"
        return {
            "samples": evaluation.num,
            "seed": seed,
            "classes": classes,
            **place,
            "generation": described(generation),
            "schedule": described(schedule),
            "precision": self.runtime.precision,
            "quantization": "8 bits: round((clamp(x, -1, 1) + 1)·127.5)"
            if len(self.views.data.shape) == 3
            else None,
            "reference": reference,
            "features": self.views.features.protocol,
            **({"classifier": self.views.classifier.protocol} if evaluation.classifier else {}),
            "metrics": described(evaluation.metrics),
            "torch": torch.__version__,
        }
