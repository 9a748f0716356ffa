"""How samples share themselves out among the modes of the data."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.metrics.base import SetMetric, check_counts
from modules.metrics.rows import Rows
from modules.metrics.stores import Store


def shares(modes: Tensor, num_modes: int) -> Tensor:
    """Shares (num_modes + 1,) of modes (n,) in -1..num_modes-1, float64; the first is of -1, no mode."""
    return torch.bincount(modes + 1, minlength=num_modes + 1).double() / len(modes)


def total_variation(p: Tensor, q: Tensor) -> float:
    """½ Σ |p - q|."""
    return 0.5 * (p - q).abs().sum().item()


@gin.register
class ModeMass(SetMetric):
    """The share of each mode, `mode_0`, ..., and of none, `outside`; `total_variation` to the references.

    Both sides are modes (n,): integers 0, 1, ..., and -1 for none. n exact samples of K equal modes have a
    total variation of about √(K/(2πn)).
    """

    label, takes = "mode_mass", "modes"
    values = ("total_variation", "outside")

    def make_store(self) -> Store:
        return Rows()

    def summary(self, x: Tensor, indices: Tensor) -> Tensor:
        if x.ndim != 1 or x.is_floating_point() or (len(x) and int(x.min()) < -1):
            raise DataError("mode_mass takes modes (n,): integers 0, 1, ..., and -1 for none")
        return x.double()

    def figures(self) -> dict[str, float]:
        check_counts(self)
        assert isinstance(self.predictions, Rows) and isinstance(self.references, Rows)
        here, there = self.predictions.read().long(), self.references.read().long()
        num_modes = int(torch.cat([here, there]).max()) + 1
        p, q = shares(here, num_modes), shares(there, num_modes)
        by_mode = {f"mode_{k}": share for k, share in enumerate(p[1:].tolist())}
        return {"total_variation": total_variation(p, q), "outside": float(p[0]), **by_mode}
