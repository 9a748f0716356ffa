"""What a metric is: an evaluate.Metric whose batches go into stores of its own.

evaluate's own store, an Arrow file, took 82 s for 10,000 x 2,048 numbers on either side, and every metric of
its Hub is a script to be fetched. Here classes are made directly:

    fid = FID()
    fid.add_batch(predictions=features, references=real_features)  # either side, in any batches
    fid.compute()  # {"fid": ...}
"""

from __future__ import annotations

import functools
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.metrics.stores import Store
from modules.runtime.runtime import Runtime

if TYPE_CHECKING:
    import datasets


class Metric(ABC):
    """Figures of samples, streamed; combined over processes by `combine`.

    An evaluate.Metric to whoever asks by isinstance; but evaluate takes as long to import as torch, and no
    figure needs it: it is imported by those alone who use it.

    Attributes:
        label: its name on the command line.
        takes: what of a sample it is given: "features"; "probabilities" (n, classes) by the features'
            network, "classes" (n, classes) by the classifier; "modes" (n,); or "density", of the energy and
            not of samples, or "own", for metrics that no evaluation can feed.
        values: names of its chief figures, where they aren't its label.
        needs: samples under which its value is known to be biased, and is labelled so; 0: none.
    """

    label: ClassVar[str]
    takes: ClassVar[str]
    values: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[int] = 0

    def __init__(self) -> None:
        self.clear()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What isinstance looks at beside the type."""
        return _of_evaluate(type(self)) if "evaluate" in sys.modules else type(self)

    @property
    def name(self) -> str:
        """As evaluate writes names."""
        return type(self).__name__.lower()

    @property
    def description(self) -> str:
        """The first line of the class's documentation."""
        return (type(self).__doc__ or "").split("\n")[0]

    @property
    def features(self) -> datasets.Features:
        """What `add_batch` takes, in the words of evaluate's own modules."""
        import datasets

        sides = {side: datasets.Sequence(datasets.Value("float32")) for side in self._feature_names()}
        return datasets.Features(sides)

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """The values, of what was added."""

    @abstractmethod
    def stores(self) -> list[Store]:
        """All that was added."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all that was added."""

    @abstractmethod
    def add_batch(self, *, predictions: Any = None, references: Any = None, indices: Any = None) -> None:
        """Add a batch.

        Args:
            predictions, references: (n, ...) tensors or arrays.
            indices: (n,) places of the rows in the whole set, where batches come in another order or on other
                processes; None: as they come.
        """

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Add a sample to either side or both."""
        one = [None if x is None else torch.as_tensor(x)[None] for x in (prediction, reference)]
        self.add_batch(predictions=one[0], references=one[1])

    def combine(self, runtime: Runtime) -> None:
        """Join what the processes were given, on each of them."""
        for store in self.stores():
            store.combine(runtime)

    def compute(self, *, predictions: Any = None, references: Any = None) -> dict[str, float]:
        """The values of all that was added, and of these; then it is forgotten."""
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        try:
            return self.figures()
        finally:
            self.clear()

    def of_parts(self, x: Tensor, truth: Tensor | None, parts: list[Tensor]) -> list[dict[str, float]]:
        """The values of parts of a set of samples, beside the references that it has.

        Args:
            x: (n, ...), as add_batch takes them; truth: (n, ...), where each has a reference of its own.
            parts: indices of x.
        """
        found = []
        for part in parts:
            self.clear_samples()
            self.add_batch(predictions=x[part], references=None if truth is None else truth[part])
            found.append(self.figures())
        self.clear_samples()
        return found

    def clear_samples(self) -> None:
        """Forget the samples that were added; references of a set stay."""
        self.clear()

    def __len__(self) -> int:
        return self.stores()[0].count

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _feature_names(self) -> list[str]:
        return ["predictions", "references"]  # evaluate.combine asks for them


@functools.cache
def _of_evaluate(kind: type[Metric]) -> type:
    """A metric's class as a subclass of evaluate's, of which nothing is made."""
    import evaluate

    return type(kind.__name__, (kind, evaluate.Metric), {"__module__": kind.__module__})


class SetMetric(Metric):
    """A metric of a set of samples beside a set of references; their numbers may differ."""

    def __init__(self) -> None:
        self.predictions, self.references = self.make_store(), self.make_store()
        super().__init__()

    @abstractmethod
    def make_store(self) -> Store:
        """An empty store of one side."""

    def summary(self, x: Tensor, indices: Tensor) -> Tensor:
        """What the store is given of x (n, ...)."""
        return x

    def stores(self) -> list[Store]:
        return [self.predictions, self.references]

    def clear(self) -> None:
        self.predictions, self.references = self.make_store(), self.make_store()

    def clear_samples(self) -> None:
        references = self.references
        self.clear()
        self.references = references

    def add_batch(self, *, predictions: Any = None, references: Any = None, indices: Any = None) -> None:
        """Add a batch of either side or both."""
        for name, given, store in (
            ("predictions", predictions, self.predictions),
            ("references", references, self.references),
        ):
            if given is not None:
                x = checked(f"{self.label}'s {name}", given)
                if self.takes == "features" and not (x.ndim == 2 and x.is_floating_point()):
                    raise DataError(f"{self.label} takes features (n, d), floats: got {_kind(x)}")
                places = torch.arange(store.count, store.count + len(x)) if indices is None else indices
                store.add(self.summary(x, torch.as_tensor(places)), torch.as_tensor(places))


class PairMetric(Metric):
    """A metric of samples that each have a reference of their own."""

    def __init__(self) -> None:
        self.pairs = self.make_store()
        super().__init__()

    @abstractmethod
    def make_store(self) -> Store:
        """An empty store of pairs."""

    @abstractmethod
    def summary(self, x: Tensor, reference: Tensor) -> Tensor:
        """What the store is given of x (n, ...) and the references (n, ...)."""

    def stores(self) -> list[Store]:
        return [self.pairs]

    def clear(self) -> None:
        self.pairs = self.make_store()

    def add_batch(self, *, predictions: Any = None, references: Any = None, indices: Any = None) -> None:
        """Add a batch of pairs."""
        if predictions is None or references is None:
            raise DataError(f"{self.label} compares pairs: give predictions and references")
        x = checked(f"{self.label}'s predictions", predictions)
        reference = torch.as_tensor(references)
        if reference.is_floating_point() and (reference.isnan() | reference.isposinf()).any():
            raise DataError(f"{self.label}'s references hold numbers that are not finite")
        if len(x) != len(reference):
            raise DataError(f"{self.label} compares pairs, but got {len(x)} and {len(reference)} of them")
        store = self.pairs
        places = torch.arange(store.count, store.count + len(x)) if indices is None else indices
        store.add(self.summary(x, reference), torch.as_tensor(places))


def _kind(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"


def checked(name: str, given: Any) -> Tensor:
    """A tensor (n, ...) of finite numbers. Raises DataError, one line, for anything else."""
    x = torch.as_tensor(given)
    if x.ndim == 0:
        raise DataError(f"{name} must be (n, ...), got a single number")
    if x.is_floating_point() and not x.isfinite().all():
        raise DataError(f"{name} hold numbers that are not finite: the sampler has diverged")
    return x


def check_probabilities(metric: Metric, x: Tensor) -> None:
    """Raise unless x (n, classes) are probabilities: at least 0, and 1 in sum."""
    if x.ndim != 2 or bool((x < 0).any()) or bool(((x.double().sum(1) - 1).abs() > 1e-2).any()):
        raise DataError(
            f"{metric.label} takes class probabilities (n, classes), at least 0 and 1 in sum: of logits give "
            "logits.softmax(1)"
        )


def check_counts(metric: SetMetric, low: int = 1) -> None:
    """Raise unless both sides have at least `low` samples."""
    for side, store in (("predictions", metric.predictions), ("references", metric.references)):
        if store.count < low:
            raise DataError(f"{metric.label} needs at least {low} {side}, got {store.count}")
