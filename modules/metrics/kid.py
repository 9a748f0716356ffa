"""The kernel distance of two sets' features (Bińkowski et al. 2018)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.checks import DataError, check_integer
from modules.metrics.base import SetMetric, check_counts
from modules.metrics.stores import Rows, Store
from modules.noise import Noise


def polynomial_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate of MMD² with the kernel (x·y/d + 1)³, of x (n, d) and y (m, d), in float64."""
    x, y = x.double(), y.double()
    n, m, d = len(x), len(y), x.shape[1]
    within_x, within_y, across = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    return (
        (within_x.sum() - within_x.trace()) / (n * (n - 1))
        + (within_y.sum() - within_y.trace()) / (m * (m - 1))
        - 2 * across.mean()
    )


@gin.register
class KID(SetMetric):
    """The mean of MMD² over random subsets of features, `kid`, and its spread over them, `kid_sd`. Unbiased.

    Sets no larger than a subset are compared whole, once, and have no spread.

    Args:
        num_subsets, subset_size: 100 of 1,000, as published.
    """

    label, takes = "kid", "features"

    def __init__(self, num_subsets: int = 100, subset_size: int = 1000) -> None:
        check_integer("KID.num_subsets", num_subsets, low=1)
        check_integer("KID.subset_size", subset_size, low=2)
        self.num_subsets, self.subset_size = num_subsets, subset_size
        super().__init__()

    def make_store(self) -> Store:
        return Rows()

    def figures(self) -> dict[str, float]:
        check_counts(self, 2)
        assert isinstance(self.predictions, Rows) and isinstance(self.references, Rows)
        x, y = self.predictions.read(), self.references.read()
        if x.shape[1:] != y.shape[1:]:
            raise DataError(
                f"kid: samples have {x.shape[1]} features, the reference {y.shape[1]}: "
                "they must come from the same extractor"
            )
        if max(len(x), len(y)) <= self.subset_size:
            return {"kid": float(polynomial_mmd(x, y))}
        values = torch.stack(
            [polynomial_mmd(x[self._subset(len(x), k, "x")], y[self._subset(len(y), k, "y")])
             for k in range(self.num_subsets)]
        )  # fmt: skip
        figures = {"kid": float(values.mean())}
        if self.num_subsets > 1:
            figures["kid_sd"] = float(values.std())
        return figures

    def _subset(self, total: int, number: int, side: str) -> Tensor:
        noise = Noise(0, torch.tensor([number]), stream="kid subsets")
        return noise.uniform(side, (total,))[0].argsort()[: self.subset_size]
