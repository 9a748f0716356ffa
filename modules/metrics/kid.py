"""The kernel distance of two sets' features (Bińkowski et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError, check_instance, check_integer
from modules.core.noise import Noise
from modules.metrics.base import SetMetric, check_counts
from modules.metrics.rows import Rows
from modules.metrics.stores import Store


def polynomial_mmd(x: Tensor, y: Tensor, members: Tensor | None = None) -> Tensor:
    """The unbiased estimate of MMD² with the kernel (x·y/d + 1)³, of x (n, d) and y (m, d), in float64.

    Args:
        members: (b, n) of 0 and 1, for the estimates (b,) of parts of x; None: () of all of it.
    """
    x, y = x.double(), y.double()
    m, d = len(y), x.shape[1]
    within_x, within_y, across = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    members = x.new_ones(len(x)) if members is None else members.to(x)
    n = members.sum(-1)
    pairs = ((members @ within_x.fill_diagonal_(0)) * members).sum(-1)
    return (
        pairs / (n * (n - 1))
        + (within_y.sum() - within_y.trace()) / (m * (m - 1))
        - 2 * (members @ across).sum(-1) / (n * m)
    )


@gin.register
class KID(SetMetric):
    """The mean of MMD² over random subsets of features, `kid`, and its spread over them, `kid_sd`. Unbiased.

    Sets no larger than a subset are compared whole, once, and have no spread.

    Args:
        num_subsets, subset_size: 100 of 1,000, as published.
        memory_mapped: whether features lie in a temporary file; None: where they exceed 1 GiB a side.
    """

    label, takes = "kid", "features"

    def __init__(
        self, num_subsets: int = 100, subset_size: int = 1000, memory_mapped: bool | None = None
    ) -> None:
        check_integer("KID.num_subsets", num_subsets, low=1)
        check_integer("KID.subset_size", subset_size, low=2)
        check_instance("KID.memory_mapped", memory_mapped, (bool, type(None)))
        self.num_subsets, self.subset_size = num_subsets, subset_size
        self.memory_mapped = memory_mapped
        super().__init__()

    def make_store(self) -> Store:
        return Rows(self.memory_mapped)

    def figures(self) -> dict[str, float]:
        check_counts(self, 2)
        assert isinstance(self.predictions, Rows) and isinstance(self.references, Rows)
        x, y = self.predictions.read(), self.references.read()
        if x.shape[1:] != y.shape[1:]:
            raise DataError(
                f"kid: samples have {x.shape[1]} features, the reference {y.shape[1]}: "
                "they must come from the same extractor"
            )
        values = torch.stack([polynomial_mmd(x[i], y[j]) for i, j in self._subsets(len(x), len(y))])
        figures = {"kid": float(values.mean())}
        if len(values) > 1:
            figures["kid_sd"] = float(values.std())
        return figures

    def of_parts(self, x: Tensor, truth: Tensor | None, parts: list[Tensor]) -> list[dict[str, float]]:
        """As of any metric, by the same subsets, of which a part has its share: the kernel is taken once."""
        assert isinstance(self.references, Rows)
        y = self.references.read()
        members = torch.zeros(len(parts), len(x))
        for member, part in zip(members, parts, strict=True):
            member[part] = 1
        values = torch.stack(
            [polynomial_mmd(x[i], y[j], members[:, i]) for i, j in self._subsets(len(x), len(y))]
        )  # not finite where a subset has less than two of a part
        return [{"kid": float(of_part[of_part.isfinite()].mean())} for of_part in values.T]

    def _subsets(self, n: int, m: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices into either side."""
        if max(n, m) <= self.subset_size:
            yield torch.arange(n), torch.arange(m)
            return
        for k in range(self.num_subsets):
            yield self._subset(n, k, "x"), self._subset(m, k, "y")

    def _subset(self, total: int, number: int, side: str) -> Tensor:
        noise = Noise(0, torch.tensor([number]), stream="kid subsets")
        return noise.uniform(side, (total,))[0].argsort()[: self.subset_size]
