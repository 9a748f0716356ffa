"""Scores of several sets as histograms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from modules.report.curves import figure


def save_histograms(
    scores: Mapping[str, Mapping[str, Tensor]], areas: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """Draw a panel a score: the inliers, filled, and each set of outliers with its AUROC.

    The axis is linear within the inliers' own range, and logarithmic far outside of it.

    Args:
        scores: of a score's name, of a set's name: (n,). The first set are the inliers.
        areas: of a score's name, of an outlier set's name: its AUROC.
    """
    fig, axes = figure(len(scores), 1, width=10, height=3.4 * len(scores))
    fig.subplots_adjust(left=0.07, hspace=0.4)
    for axis, (title, sets) in zip(axes.flat, scores.items(), strict=True):
        values = {name: x.numpy() for name, x in sets.items()}
        inliers = next(iter(values.values()))
        low, middle, high = np.quantile(inliers, [0.005, 0.5, 0.995])
        width = max(float(high - low), 1e-12)
        everything = np.concatenate([_folded(x, middle, width) for x in values.values()])
        bins = np.linspace(everything.min(), everything.max(), 120)
        for name, x in values.items():
            is_inlier = x is inliers
            label = name if is_inlier else f"{name}: AUROC {areas[title][name]:.3f}"
            style = {"histtype": "stepfilled", "alpha": 0.4} if is_inlier else {"histtype": "step"}
            axis.hist(_folded(x, middle, width), bins=bins, density=True, label=label, **style)
        axis.set(title=title, xlabel="asinh(2 (score - median of the inliers) / their width)", yticks=[])
        axis.legend(fontsize=8)
    fig.savefig(path, dpi=80)


def _folded(x: np.ndarray, middle: float, width: float) -> np.ndarray:
    return np.arcsinh((x - middle) / width * 2)
