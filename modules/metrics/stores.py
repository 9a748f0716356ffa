"""What a metric keeps of the batches it is given; each is the same whatever the batches and processes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.runtime.runtime import Runtime


class Store(ABC):
    """An accumulator.

    Attributes:
        count: samples seen.
    """

    count: int = 0

    @abstractmethod
    def add(self, x: Tensor, indices: Tensor) -> None:
        """Take in x (n, ...), whose places in the whole set are indices (n,)."""

    @abstractmethod
    def combine(self, runtime: Runtime) -> None:
        """Become, on every process, what one process that had seen all samples would hold."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """All of it, as arrays for a file."""

    @abstractmethod
    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over a `state`."""


class Moments(Store):
    """Mean and scatter about it in float64, batches joined by Chan, Golub and LeVeque (1979)."""

    def __init__(self) -> None:
        self.mean = self.scatter = torch.zeros(0, dtype=torch.float64)

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> Moments:
        """Moments that are known, (d,) and (d, d), of nobody knows how many samples; nothing can be added.

        Raises:
            DataError: what cannot be a mean and a covariance.
        """
        check_moments(mean, covariance)
        made = cls()
        made.count, made.mean, made.scatter = 2, mean.double(), covariance.double()
        return made

    def add(self, x: Tensor, indices: Tensor) -> None:
        x = (x.cpu() if x.device.type == "mps" else x).double()  # which has no float64
        if not len(x):
            return
        mean = x.mean(0)
        x = x - mean
        if self.count == 0:
            self.mean, self.scatter = torch.zeros_like(mean), mean.new_zeros(len(mean), len(mean))
        elif self.mean.shape != mean.shape:
            raise other_width(len(self.mean), len(mean))
        n, m = self.count, len(x)
        shift = mean - self.mean
        self.scatter.addmm_(x.T, x).addr_(shift, shift, alpha=n * m / (n + m))
        self.mean += shift * (m / (n + m))
        self.count = n + m

    def combine(self, runtime: Runtime) -> None:
        if runtime.num_processes == 1:
            return
        width = max(runtime.gather_objects([len(self.mean)]))
        if self.count == 0:
            self.mean, self.scatter = torch.zeros(width).double(), torch.zeros(width, width).double()
        home = runtime.device
        own, n = self.mean.to(home), torch.tensor(float(self.count), dtype=torch.float64, device=home)
        total = runtime.sum(n)
        self.mean = runtime.sum(own * (n / total))
        shift = own - self.mean
        self.scatter = runtime.sum(self.scatter.to(home) + n * torch.outer(shift, shift))
        self.count = int(total)

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance (d, d)."""
        if self.count < 2:
            raise DataError(f"a covariance needs at least 2 samples, got {self.count}")
        return self.scatter / (self.count - 1)

    def state(self) -> dict[str, np.ndarray]:
        return {
            "count": np.array(self.count),
            "mean": self.mean.cpu().numpy(),
            "scatter": self.scatter.cpu().numpy(),
        }

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        self.count = int(state["count"])
        self.mean, self.scatter = torch.tensor(state["mean"]), torch.tensor(state["scatter"])


class Sums(Store):
    """The sum over samples of figures (n, ...), or of a batch's sums (1, ...), in float64."""

    def __init__(self) -> None:
        self.total = torch.zeros(0, dtype=torch.float64)

    def add(self, x: Tensor, indices: Tensor) -> None:
        part = x.cpu().double().sum(0)
        if self.count and part.shape != self.total.shape:
            raise other_width(self.total.numel(), part.numel())
        self.total = part + self.total if self.count else part
        self.count += len(indices)

    def combine(self, runtime: Runtime) -> None:
        if runtime.num_processes == 1:
            return
        # of a process without samples it is (0,)
        shape = max((tuple(s) for s in runtime.gather_objects([tuple(self.total.shape)])), key=math.prod)
        total = self.total if self.count else torch.zeros(shape).double()
        self.total = runtime.sum(total.to(runtime.device)).cpu()
        self.count = int(runtime.sum(torch.tensor(self.count, device=runtime.device)))

    def state(self) -> dict[str, np.ndarray]:
        return {"count": np.array(self.count), "total": self.total.numpy()}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        self.count, self.total = int(state["count"]), torch.tensor(state["total"])


def check_moments(mean: Tensor, covariance: Tensor, where: str = "") -> None:
    """Raise DataError unless a mean (d,) and a covariance (d, d), symmetric and without negative variances.

    Rounding may leave variances that are negative by less than 1e-6 of all variance.

    Args:
        where: the head of messages.
    """
    if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
        raise DataError(f"{where}mu must be (d,) and sigma (d, d), got {tuple(mean.shape)}, "
                        f"{tuple(covariance.shape)}")  # fmt: skip
    for name, values in (("mu", mean), ("sigma", covariance)):
        if values.is_complex():
            raise DataError(f"{where}{name} holds complex numbers")
        if not values.isfinite().all():
            raise DataError(f"{where}{name} holds values that are not finite")
    sigma = covariance.double()
    if float((sigma - sigma.T).abs().max()) > 1e-5 * float(sigma.abs().max()):
        raise DataError(f"{where}sigma is no covariance: it isn't symmetric")
    slack = 1e-6 * float(sigma.diagonal().abs().sum()) + 1e-300
    _, failed = torch.linalg.cholesky_ex(sigma + slack * torch.eye(len(sigma), dtype=sigma.dtype))
    if bool(failed):
        raise DataError(f"{where}sigma is no covariance: along some direction its variance is negative")


def other_width(before: int, now: int) -> DataError:
    """The fault of features of another width."""
    return DataError(f"a metric was given samples of {now} numbers after samples of {before}")
