"""The only shape helpers of the project."""

from __future__ import annotations

from torch import Tensor


def expand_as(values: Tensor, like: Tensor) -> Tensor:
    """values (b,) shaped (b, 1, ..., 1), to multiply `like` (b, ...)."""
    return values.reshape(values.shape[0], *([1] * (like.ndim - 1)))


def sum_per_sample(x: Tensor) -> Tensor:
    """Sum over all axes but the first: (b, ...) -> (b,)."""
    return x.flatten(1).sum(1)


def norm_per_sample(x: Tensor) -> Tensor:
    """Euclidean norm over all axes but the first: (b, ...) -> (b,)."""
    return x.flatten(1).norm(dim=1)


def rms_per_sample(x: Tensor) -> Tensor:
    """Root-mean-square over all axes but the first: (b, ...) -> (b,)."""
    return norm_per_sample(x) / x[0].numel() ** 0.5
