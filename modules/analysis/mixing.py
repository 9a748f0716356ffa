"""How quickly chains forget: autocorrelation times, as a whole and over time."""

from __future__ import annotations

import torch
from torch import Tensor

_WINDOW = 5.0  # correlations are summed up to this many times the time that they give (Sokal 1997)


def autocorrelation_time(series: Tensor) -> float:
    """τ = 1 + 2 Σ_k ρ_k in records, of series (r, n) of n chains in one law.

    ρ_k is averaged over the chains about their common mean, so that chains which stay apart count as slow;
    the sum ends at the first K >= 5 τ(K) (Sokal 1997). A τ near r/5 says no more than "at least that".
    """
    r = len(series)
    centred = series.double() - series.double().mean()
    padded = torch.fft.rfft(centred, 2 * r, dim=0)
    products = torch.fft.irfft(padded.abs() ** 2, 2 * r, dim=0)[:r].mean(1) / torch.arange(r, 0, -1)
    if not float(products[0]) > 0:
        return float("nan")  # constant, or not finite
    sums = 2 * (products / products[0]).cumsum(0) - 1
    enough = torch.nonzero(torch.arange(r) >= _WINDOW * sums)
    return max(1.0, float(sums[int(enough[0]) if len(enough) else r - 1]))


def over_time(series: Tensor, windows: int = 8) -> Tensor:
    """τ in each of `windows` equal parts of series (r, n), (windows,) float64."""
    length = len(series) // windows
    parts = series[len(series) - windows * length :].unflatten(0, (windows, length))
    return torch.tensor([autocorrelation_time(part) for part in parts], dtype=torch.float64)


def class_changes(classes: Tensor) -> float:
    """The share of neighbouring records (r, n) whose classes differ, of those where both have one (not -1).

    Changes that happen and are undone between two records aren't seen: record often. NaN where no two
    neighbours have classes.
    """
    known = (classes[1:] >= 0) & (classes[:-1] >= 0)
    changed = (classes[1:] != classes[:-1]) & known
    return float(changed.sum()) / int(known.sum()) if known.any() else float("nan")
