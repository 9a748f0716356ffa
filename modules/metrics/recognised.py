"""How many samples a classifier is sure of."""

from __future__ import annotations

import gin
from torch import Tensor

from modules.core.checks import DataError, check_number
from modules.metrics.base import SetMetric, check_probabilities
from modules.metrics.stores import Store, Sums


@gin.register
class Recognised(SetMetric):
    """Share of samples whose most probable class has a probability above `confidence`: `recognised`.

    It means something with a classifier that has learned to doubt what is none of its classes. References, if
    given, have theirs beside it: `recognised_real`.

    Args:
        confidence: in (0, 1).
    """

    label, takes = "recognised", "classes"

    def __init__(self, confidence: float = 0.9) -> None:
        check_number("Recognised.confidence", confidence, above=0, below=1)
        self.confidence = confidence
        super().__init__()

    def make_store(self) -> Store:
        return Sums()

    def summary(self, x: Tensor, indices: Tensor) -> Tensor:
        check_probabilities(self, x)
        return (x.amax(1) > self.confidence)[:, None]

    def figures(self) -> dict[str, float]:
        shares = {}
        for name, store in (("recognised", self.predictions), ("recognised_real", self.references)):
            assert isinstance(store, Sums)
            if store.count:
                shares[name] = float(store.total) / store.count
        if "recognised" not in shares:
            raise DataError("recognised was given no samples")
        return shares
