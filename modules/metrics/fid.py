"""The Fréchet distance of two sets' features, each taken for a Gaussian (Heusel et al. 2017)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError, check_bool
from modules.core.noise import Noise
from modules.metrics.base import SetMetric, check_counts
from modules.metrics.rows import Rows
from modules.metrics.stores import Moments, Store

SIZES = 15  # of the subsets that the extrapolation is fitted to
BLOCK = 4096  # rows added at once


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """||m_a - m_b||² + tr(A + B - 2 (A^½ B A^½)^½), means (d,) and covariances (d, d), in float64."""
    mean_a, cov_a, mean_b, cov_b = (x.double() for x in (mean_a, cov_a, mean_b, cov_b))
    for cov in (cov_a, cov_b):
        if not cov.isfinite().all():
            raise DataError("the Fréchet distance needs covariances of finite numbers")
    values, vectors = torch.linalg.eigh(cov_a)
    if float(values.min()) < -1e-6 * float(values.abs().sum()):
        raise DataError("the Fréchet distance needs covariances: a variance is negative")
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # A^½ B A^½ is symmetric and has the eigenvalues of AB; rounding may put zeros below 0
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


@gin.register
class FID(SetMetric):
    """The Fréchet distance of features: `fid`, biased upwards by about c/N for N samples.

    Args:
        extrapolate: also give `fid_infinity`, the limit N → ∞ of a line in 1/N fitted to the distances of 15
            random subsets (Chong and Forsyth 2020). Features of all samples are then kept.
    """

    label, takes, needs = "fid", "features", 10_000

    def __init__(self, extrapolate: bool = False) -> None:
        check_bool("FID.extrapolate", extrapolate)
        self.extrapolate = extrapolate
        super().__init__()

    def make_store(self) -> Store:
        return Moments()

    def clear(self) -> None:
        super().clear()
        if self.extrapolate:
            self.predictions = Rows()

    def figures(self) -> dict[str, float]:
        check_counts(self, 2)
        assert isinstance(self.references, Moments)
        if isinstance(self.predictions, Moments):
            return {"fid": self._distance(self.predictions)}
        assert isinstance(self.predictions, Rows)
        rows = self.predictions.read()
        whole = _moments(rows, torch.arange(len(rows)))
        return {"fid": self._distance(whole), "fid_infinity": self._limit(rows)}

    def _distance(self, moments: Moments) -> float:
        there = self.references
        assert isinstance(there, Moments)
        if moments.mean.shape != there.mean.shape:
            raise DataError(
                f"fid: samples have {len(moments.mean)} features, the reference {len(there.mean)}: "
                "they must come from the same extractor"
            )
        home = moments.mean.device
        return frechet_distance(
            moments.mean, moments.covariance, there.mean.to(home), there.covariance.to(home)
        )

    def _limit(self, rows: Tensor) -> float:
        """The intercept at 1/N = 0; subsets of N/10 to N samples."""
        sizes = torch.linspace(max(2, len(rows) // 10), len(rows), SIZES).long()
        noise = Noise(0, torch.arange(SIZES), stream="fid subsets")
        orders = noise.uniform("order", (len(rows),)).argsort(1)
        distances = [
            self._distance(_moments(rows, order[:size])) for order, size in zip(orders, sizes, strict=True)
        ]
        line = torch.stack([torch.ones(SIZES).double(), 1 / sizes.double()], 1)
        return float(torch.linalg.lstsq(line, torch.tensor(distances).double()[:, None]).solution[0, 0])


def _moments(rows: Tensor, chosen: Tensor) -> Moments:
    moments = Moments()
    for part in chosen.split(BLOCK):  # in float64, so not all at once
        moments.add(rows[part], part)
    return moments
