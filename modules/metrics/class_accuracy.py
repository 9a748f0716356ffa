"""Whether conditional samples are of the class asked for, by a given classifier."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.metrics.base import PairMetric
from modules.metrics.stores import Store, Sums


@gin.register
class ClassAccuracy(PairMetric):
    """Share of samples whose most probable class is the one asked for: `class_accuracy`.

    Beside it the lowest share of a class, `class_accuracy_worst`. predictions are (n, classes) probabilities
    or logits, references (n,) classes.
    """

    label, takes = "class_accuracy", "classes"

    def make_store(self) -> Store:
        return Sums()

    def summary(self, x: Tensor, reference: Tensor) -> Tensor:
        x, reference = x.cpu(), reference.cpu()
        if reference.is_floating_point() or reference.dtype == torch.bool:
            raise DataError("class_accuracy: classes asked for must be whole numbers of an integer type")
        reference = reference.long()
        classes = x.shape[1]
        if not ((reference >= 0) & (reference < classes)).all():
            raise DataError(f"class_accuracy: classes asked for must be in 0..{classes - 1}")
        member = torch.nn.functional.one_hot(reference, classes).double()
        right = (x.argmax(1) == reference).double()[:, None]
        return torch.stack([member * right, member], 1)

    def figures(self) -> dict[str, float]:
        assert isinstance(self.pairs, Sums)
        if not self.pairs.count:
            raise DataError("class_accuracy was given no samples")
        right, asked = self.pairs.total
        by_class = (right / asked)[asked > 0]
        return {
            "class_accuracy": float(right.sum() / asked.sum()),
            "class_accuracy_worst": float(by_class.min()),
        }
