"""Distances of sets along lines (Bonneel et al. 2015, "Sliced and Radon Wasserstein barycenters")."""

from __future__ import annotations

import math

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError, check_integer
from modules.core.noise import Noise
from modules.metrics.base import SetMetric, check_counts
from modules.metrics.order import scattered
from modules.metrics.rows import Rows
from modules.metrics.stores import Store


def directions(dim: int, num: int) -> Tensor:
    """Fixed unit vectors (num, dim), float64: even over the half circle in the plane, else random."""
    if dim == 2:
        angles = torch.arange(num, dtype=torch.float64) * (math.pi / num)
        return torch.stack([angles.cos(), angles.sin()], 1)
    normals = Noise(0, torch.arange(num), stream="projections", dtype=torch.float64).normal("d", (dim,))
    return normals / normals.norm(dim=1, keepdim=True)


def sliced_wasserstein(a: Tensor, b: Tensor, num_directions: int = 256) -> float:
    """Root-mean-square, over directions, of the 2-Wasserstein distances of n projected samples each.

    In one dimension W₂² is the mean squared difference of the sorted. In the plane directions are even, so
    that a shift by v gives |v|/√2 exactly. In the units of the samples.

    Args:
        a, b: (n, ...) each.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    lines = directions(a.shape[1], num_directions).to(a.device).T
    return float(((a @ lines).sort(0).values - (b @ lines).sort(0).values).square().mean().sqrt())


@gin.register
class SlicedWasserstein(SetMetric):
    """The sliced 2-Wasserstein distance of features to as many references: `sliced_wasserstein`.

    Of the larger set, rows scattered over it are taken.

    Args:
        num_directions: of the lines, fixed ones.
    """

    label, takes = "sliced_wasserstein", "features"

    def __init__(self, num_directions: int = 256) -> None:
        check_integer("SlicedWasserstein.num_directions", num_directions, low=1)
        self.num_directions = num_directions
        super().__init__()

    def make_store(self) -> Store:
        return Rows()

    def figures(self) -> dict[str, float]:
        check_counts(self)
        assert isinstance(self.predictions, Rows) and isinstance(self.references, Rows)
        a, b = self.predictions.read(), self.references.read()
        if a.shape[1:] != b.shape[1:]:
            raise DataError(
                f"sliced_wasserstein: samples are {tuple(a.shape[1:])}, references {tuple(b.shape[1:])}"
            )
        n = min(len(a), len(b))
        a, b = (x[scattered(torch.arange(len(x))).argsort()[:n]] for x in (a, b))
        return {"sliced_wasserstein": sliced_wasserstein(a, b, self.num_directions)}
