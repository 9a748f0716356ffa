"""Measuring the samples of a model: which metrics, by which features, of how many, against what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import torch
from torch import Tensor
from tqdm.auto import tqdm

from modules.checks import ConfigurationError, DataError, check_instance, check_integer
from modules.data.base import Data, Examples
from modules.energies.base import Energy
from modules.features.base import Extractor, Features
from modules.generation import Generation
from modules.initializers.base import Initializer
from modules.metrics.base import Metric, SetMetric
from modules.metrics.fid import FID
from modules.references import check_metrics, fill, prepared, published, taken
from modules.report.measured import Measured
from modules.report.protocol import described
from modules.runtime import Runtime
from modules.sampling import sample_batches
from modules.schedules import Schedule
from modules.signals import SamplingStoppedError


@gin.register
class Evaluation:
    """Metrics of samples beside a data set.

    Args:
        metrics: what is measured.
        extractor: of the features and class probabilities that metrics compare.
        num: samples; of fewer than 10,000 some metrics are biased, and labelled so.
        every: steps between evaluations during training; 0: only when asked for by --task evaluate.
        reference: the data set to compare with; None: the run's own.
        num_references: examples of it, spread over all of it; None: all.
        statistics: an .npz with the reference's mu and sigma, for FID; None: computed from the reference.
        batch_size: samples at once on a device.
    """

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
        self.metrics, self.extractor, self.num, self.every = list(metrics), extractor, num, every
        self.reference, self.num_references, self.statistics = reference, num_references, statistics
        self.batch_size = batch_size

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
            features = self.extractor.open(data.shape, runtime.device)  # which may fetch a file
        runtime.wait()
        if not runtime.is_main:
            features = self.extractor.open(data.shape, runtime.device)
        check_metrics(self.metrics, features, data, num_classes)
        return Evaluator(self, features, data, examples or data.open(), num_classes, runtime)


class Evaluator:
    """An opened `Evaluation`: measures a model as often as it is called."""

    def __init__(
        self,
        evaluation: Evaluation,
        features: Features,
        data: Data,
        examples: Examples,
        num_classes: int,
        runtime: Runtime,
    ) -> None:
        self.evaluation, self.features, self.data = evaluation, features, data
        self.num_classes, self.runtime = num_classes, runtime
        sets = [metric for metric in evaluation.metrics if isinstance(metric, SetMetric)]
        self._published = published(evaluation.statistics) if evaluation.statistics else None
        own = [m for m in sets if not (self._published and isinstance(m, FID))]
        count = min(evaluation.num_references or len(examples), len(examples))
        for metric in sets:
            metric.clear()
        self.identity = (
            fill(own, data, examples, count, features, evaluation.batch_size, runtime) if own else {}
        )
        self._references = {metric.label: metric.references for metric in sets}
        if self._published:
            self._references["fid"] = self._published
            one = prepared(examples.rows(torch.tensor([0]))[0]).to(runtime.device)
            width, known = features.extract(one).features.shape[1], len(self._published.mean)
            if width != known:
                raise DataError(
                    f"{evaluation.statistics} is of {known} features, the extractor "
                    f"{features.protocol['extractor']} gives {width}"
                )

    def __call__(
        self,
        generation: Generation,
        energy: Energy,
        initializer: Initializer,
        schedule: Schedule,
        seed: int,
        place: Mapping[str, Any],
        labels: Tensor | None = None,
        progress: bool = False,
    ) -> Measured:
        """Draw images 0..num-1 of a seed, shared out among the processes, and measure them.

        Args:
            place: what the protocol says of the weights: step, average.
            labels: (num,) classes asked for; None: a conditional model's classes in turn.
            progress: whether to show a bar.

        Returns:
            the same on every process.

        Raises:
            DataError: on every process, if samples of any aren't finite.
            SamplingStoppedError: on every process, after a signal to any.
        """
        evaluation, runtime = self.evaluation, self.runtime
        asked = labels
        if labels is None and self.num_classes:
            labels = torch.arange(evaluation.num) % self.num_classes
        for metric in evaluation.metrics:
            metric.clear()
            if isinstance(metric, SetMetric):
                metric.references = self._references[metric.label]
        mine = torch.arange(evaluation.num)[runtime.rank :: runtime.num_processes]
        batches = sample_batches(
            generation,
            energy,
            initializer,
            schedule,
            mine,
            None if labels is None else labels[mine],
            seed,
            runtime,
            evaluation.batch_size,
        )
        diverged = 0
        bar = tqdm(total=len(mine), unit="img", disable=not (progress and runtime.is_main))
        stopped = False
        try:
            for index, drawn in batches:
                bar.update(len(index))
                good = drawn.x.flatten(1).isfinite().all(1).cpu()
                if not good.all():
                    diverged += int((~good).sum())
                    continue
                x = prepared(drawn.x)
                extracted = self.features.extract(x)
                for metric in evaluation.metrics:
                    given = taken(metric, x, extracted, self.data)
                    truth = None if isinstance(metric, SetMetric) or labels is None else labels[index]
                    metric.add_batch(predictions=given, references=truth, indices=index)
        except SamplingStoppedError:
            stopped = True
        bar.close()
        # agreed on before anything is joined: no process waits for one that has stopped
        if runtime.any(stopped):
            raise SamplingStoppedError
        diverged = int(runtime.sum(torch.tensor(diverged, device=runtime.device)))
        if diverged:
            raise DataError(
                f"{diverged} of {evaluation.num} samples are not finite: the sampler has diverged"
            )
        values: dict[str, float] = {}
        notes: dict[str, str] = {}
        for metric in evaluation.metrics:
            for store in metric.stores()[:1]:  # the references are whole already
                store.combine(runtime)
            found = metric.compute()
            values |= found
            if evaluation.num < metric.needs:
                note = f"biased: N = {evaluation.num:,} < {metric.needs:,}"
                notes |= {n: note for n in found if n != "fid_infinity" and not n.endswith("_real")}
        return Measured(values, self._protocol(generation, schedule, seed, place, asked), notes)

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
            if len(self.data.shape) == 3
            else None,
            "reference": reference,
            "features": self.features.protocol,
            "metrics": described(evaluation.metrics),
            "torch": torch.__version__,
        }
