"""How well a score tells outliers from inliers."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.metrics.base import PairMetric
from modules.metrics.rows import Rows
from modules.metrics.stores import Store


@gin.register
class Detection(PairMetric):
    """`auroc`, `aupr` (average precision) and `fpr95` of scores, larger = more outlying.

    predictions are (n,) scores, references (n,) with 1 for an outlier, which is the class to be found. fpr95
    is the share of inliers taken for outliers at the highest threshold that finds 95% of the outliers. Equal
    scores are one threshold.
    """

    label, takes = "detection", "own"

    def make_store(self) -> Store:
        return Rows()

    def summary(self, x: Tensor, reference: Tensor) -> Tensor:
        if x.ndim != 1 or not ((reference == 0) | (reference == 1)).all():
            raise DataError("detection takes scores (n,) and references (n,) of 0 (inlier) and 1 (outlier)")
        return torch.stack([x.double().cpu(), reference.double().cpu()], 1)

    def figures(self) -> dict[str, float]:
        assert isinstance(self.pairs, Rows)
        rows = self.pairs.read()
        outliers = float(rows[:, 1].sum()) if len(rows) else 0.0
        if not 0 < outliers < len(rows):
            raise DataError("detection needs both outliers and inliers")
        score, truth = rows[rows[:, 0].argsort(descending=True)].unbind(1)
        last = torch.cat([score[1:] != score[:-1], torch.ones(1, dtype=torch.bool)])  # of equal scores
        found = truth.cumsum(0)[last]
        flagged = torch.arange(1, len(rows) + 1).double()[last]
        hit = torch.cat([torch.zeros(1), found / outliers]).double()
        false = torch.cat([torch.zeros(1), (flagged - found) / (len(rows) - outliers)]).double()
        return {
            "auroc": float(torch.trapezoid(hit, false)),
            "aupr": float((hit.diff() * found / flagged).sum()),
            "fpr95": float(false[hit >= 0.95].min()),
        }
