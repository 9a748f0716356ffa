"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.checks import DataError, check_integer
from modules.metrics.base import SetMetric, check_counts
from modules.metrics.stores import Rows, Store

EXACT = 256  # dimensions up to which distances are summed one by one
BLOCK = 2**24  # distances held at once


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances (n, m) of points (n, d) and (m, d), in float64.

    In up to 256 dimensions they are exactly 0 between equal points; beyond, a matrix product is several times
    as fast, and wrong by about 1e-8 of the points' norm.
    """
    x, y = x.double(), y.double()
    if x.shape[1] <= EXACT:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist")


def neighbour_radii(points: Tensor, k: int) -> Tensor:
    """Distance (n,) of each point (n, d) to its k-th nearest other."""
    rows = points.split(max(1, BLOCK // len(points)))
    return torch.cat(
        [distances(p, points).kthvalue(k + 1, dim=1).values for p in rows]
    )  # the first is itself


def prdc(real: Tensor, generated: Tensor, k: int, real_radii: Tensor | None = None) -> dict[str, float]:
    """Shares of points in balls around points of the other set, each ball reaching its k-th neighbour.

    precision: of the generated in a ball of the real. density: real balls that hold a generated point, by k.
    recall: of the real in a ball of the generated. coverage: of the real whose ball holds a generated point.

    Args:
        real, generated: (n, d), (m, d).
        real_radii: (n,) `neighbour_radii` of the real, where they are known already.
    """
    if min(len(real), len(generated)) <= k:
        raise DataError(f"prdc with k = {k} needs more than {k} samples of either set: got "
                        f"{len(generated)} and {len(real)} references")  # fmt: skip
    radii = neighbour_radii(real, k) if real_radii is None else real_radii
    own_radii = neighbour_radii(generated, k)
    held = torch.zeros(len(generated), dtype=torch.int64)
    recalled = covered = 0
    size = max(1, BLOCK // len(generated))
    for rows, reach in zip(real.split(size), radii.split(size), strict=True):
        apart = distances(rows, generated)
        inside = apart <= reach[:, None]
        held += inside.sum(0).cpu()
        covered += int(inside.any(1).sum())
        recalled += int((apart <= own_radii).any(1).sum())
    return {
        "precision": float((held > 0).double().mean()),
        "recall": recalled / len(real),
        "density": float(held.double().mean()) / k,
        "coverage": covered / len(real),
    }


@gin.register
class PRDC(SetMetric):
    """`precision`, `recall`, `density`, `coverage` of features. They depend on both sets' sizes.

    Args:
        k: neighbours that a ball reaches; 5 as in the published comparison.
    """

    label, takes, needs = "prdc", "features", 10_000
    values = ("precision", "recall", "density", "coverage")

    def __init__(self, k: int = 5) -> None:
        check_integer("PRDC.k", k, low=1)
        self.k = k
        super().__init__()

    def make_store(self) -> Store:
        return Rows()

    def figures(self) -> dict[str, float]:
        check_counts(self, self.k + 1)
        assert isinstance(self.predictions, Rows) and isinstance(self.references, Rows)
        generated, real = self.predictions.read(), self.references.read()
        if generated.shape[1:] != real.shape[1:]:
            raise DataError(
                f"prdc: samples have {generated.shape[1]} features, the reference {real.shape[1]}: "
                "they must come from the same extractor"
            )
        return prdc(real, generated, self.k)
