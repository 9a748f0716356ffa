"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError, check_instance, check_integer
from modules.metrics.base import SetMetric, check_counts
from modules.metrics.rows import Rows
from modules.metrics.stores import Store

EXACT = 256  # dimensions up to which distances are summed one by one
TILE = 4096  # points of either side whose distances are held at once


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
    tiles = points.split(TILE)
    nearest = [torch.full((len(tile), k + 1), torch.inf, dtype=torch.float64) for tile in tiles]
    for i, rows in enumerate(tiles):
        for j, columns in enumerate(tiles[: i + 1]):  # distances are symmetric
            apart = distances(rows, columns)
            nearest[i] = _least(nearest[i], apart)
            if j < i:
                nearest[j] = _least(nearest[j], apart.T)
    return torch.cat([near.amax(1) for near in nearest])  # the first of the k + 1 is itself


def _tiles(count: int) -> list[slice]:
    return [slice(first, first + TILE) for first in range(0, count, TILE)]


def _least(known: Tensor, more: Tensor) -> Tensor:
    """The smallest numbers of each row, as many as are known."""
    size = known.shape[1]
    least = more.topk(min(size, more.shape[1]), dim=1, largest=False, sorted=False).values
    return torch.cat([known, least], 1).topk(size, dim=1, largest=False, sorted=False).values


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
    recalled, covered = (torch.zeros(len(real), dtype=torch.bool) for _ in range(2))
    for i in _tiles(len(real)):
        for j in _tiles(len(generated)):
            apart = distances(real[i], generated[j])
            inside = apart <= radii[i][:, None]
            held[j] += inside.sum(0)
            covered[i] |= inside.any(1)
            recalled[i] |= (apart <= own_radii[j]).any(1)
    return {
        "precision": float((held > 0).double().mean()),
        "recall": float(recalled.double().mean()),
        "density": float(held.double().mean()) / k,
        "coverage": float(covered.double().mean()),
    }


@gin.register
class PRDC(SetMetric):
    """`precision`, `recall`, `density`, `coverage` of features. They depend on both sets' sizes.

    Args:
        k: neighbours that a ball reaches; 5 as in the published comparison.
        memory_mapped: whether features lie in a temporary file; None: where they exceed 1 GiB a side.
    """

    label, takes, needs = "prdc", "features", 10_000
    values = ("precision", "recall", "density", "coverage")

    def __init__(self, k: int = 5, memory_mapped: bool | None = None) -> None:
        check_integer("PRDC.k", k, low=1)
        check_instance("PRDC.memory_mapped", memory_mapped, (bool, type(None)))
        self.k, self.memory_mapped = k, memory_mapped
        super().__init__()

    def make_store(self) -> Store:
        return Rows(self.memory_mapped)

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
