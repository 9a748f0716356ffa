"""Means of per-sample figures by level, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SHOWN = 20  # groups of levels at most


class LevelMeter:
    """Sums of watched figures by transition t = 1..T, neighbours together where there are more than SHOWN."""

    def __init__(self, num_levels: int, device: torch.device) -> None:
        groups = min(num_levels, SHOWN)
        self._group = torch.arange(num_levels, device=device) * groups // num_levels  # of each level
        self._names = [int((self._group == g).nonzero().max()) + 1 for g in range(groups)]
        self._device = device
        # Apple's GPUs have no float64
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums: dict[str, Tensor] = {}

    def add(self, t: Tensor, watch: dict[str, Tensor]) -> None:
        """Add figures (b,) at transitions t (b,)."""
        for name, values in watch.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros(2, len(self._names), dtype=self._dtype, device=self._device)
            both = torch.stack([values.to(self._dtype), torch.ones_like(values, dtype=self._dtype)])
            self._sums[name].index_add_(1, self._group[t - 1], both)

    def state(self) -> dict[str, list[list[float]]]:
        """The sums and the counts by level of each figure, for JSON, which keeps them to the last bit."""
        return {name: both.tolist() for name, both in self._sums.items()}

    def load(self, state: Mapping[str, list[list[float]]]) -> None:
        """Add such sums; those of another number of levels are left out."""
        for name, both in state.items():
            if [len(values) for values in both] == [len(self._names)] * 2:
                loaded = torch.tensor(both, dtype=self._dtype, device=self._device)
                self._sums[name] = self._sums[name] + loaded if name in self._sums else loaded

    def read(self, add_processes: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means as {"name": overall, "name/t": of a level, or of the group that ends at t}; clears them.

        Args:
            add_processes: sums a tensor over the processes.
        """
        out: dict[str, float] = {}
        for name, mine in self._sums.items():
            total, count = add_processes(mine).tolist()
            out[name] = sum(total) / max(sum(count), 1.0)
            both = zip(self._names, total, count, strict=True)
            out.update({f"{name}/{t}": part / n for t, part, n in both if n > 0})
        self._sums = {}
        return out
