"""The divergence of two densities over a grid."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError, check_integer, check_number
from modules.metrics.base import PairMetric
from modules.metrics.rows import Rows
from modules.metrics.stores import Store


def square_grid(half_width: float, per_side: int) -> Tensor:
    """Midpoints (per_side², 2) of the equal cells of [-half_width, half_width]², float64."""
    side = ((torch.arange(per_side, dtype=torch.float64) + 0.5) * (2 / per_side) - 1) * half_width
    return torch.cartesian_prod(side, side)


def grid_kl(log_p: Tensor, log_q: Tensor) -> float:
    """KL(p || q) = Σ p (log p - log q) in nats, of log densities (n,) up to constants on cells of equal size.

    Both are normalized over the grid, which must hold nearly all the mass of both: what a model puts beyond
    it isn't seen.
    """
    log_p, log_q = log_p.double().log_softmax(0), log_q.double().log_softmax(0)
    held = log_p > -torch.inf  # elsewhere p = 0, and p log p = 0
    return (log_p.exp() * (log_p - log_q))[held].sum().item()


@gin.register
class GridKL(PairMetric):
    """KL(true || model) on a grid: `grid_kl`.

    predictions are (n,) log densities of the model at the cells, finite; references those of the truth, -∞
    where it's zero; both up to a constant. A network's is -energy/energy_scale. An evaluation takes the
    energy without a class at level 0, and the data's density with that level's noise.

    Args:
        half_width, per_side: of the grid, the square [-half_width, half_width]² in per_side² cells; what a
            model puts beyond it isn't seen.
    """

    label, takes = "grid_kl", "density"

    def __init__(self, half_width: float = 1.25, per_side: int = 200) -> None:
        check_number("GridKL.half_width", half_width, above=0)
        check_integer("GridKL.per_side", per_side, low=2, high=10_000)
        self.half_width, self.per_side = half_width, per_side
        super().__init__()

    def grid(self) -> Tensor:
        """Midpoints (per_side², 2) of the cells, float64."""
        return square_grid(self.half_width, self.per_side)

    def make_store(self) -> Store:
        return Rows()

    def summary(self, x: Tensor, reference: Tensor) -> Tensor:
        if x.ndim != 1 or reference.ndim != 1:
            raise DataError("grid_kl takes log densities (n,), one a cell of the grid")
        return torch.stack([x.double().cpu(), reference.double().cpu()], 1)

    def figures(self) -> dict[str, float]:
        assert isinstance(self.pairs, Rows)
        if not self.pairs.count:
            raise DataError("grid_kl was given no cells")
        log_q, log_p = self.pairs.read().unbind(1)
        return {"grid_kl": grid_kl(log_p, log_q)}
