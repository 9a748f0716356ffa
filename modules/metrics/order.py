"""A fixed order of samples that follows no pattern of theirs."""

from __future__ import annotations

from torch import Tensor

GOLDEN = 2_654_435_769  # 2^32 over the golden ratio


def scattered(indices: Tensor) -> Tensor:
    """i/golden ratio without its whole part, in units of 2^-32: int64 in 0..2^32-1, for i below 2^31.

    The values are even over 0..n-1 and over every k-th of these: conditional models are asked for their
    classes in turn, and what takes every tenth sample would get a single class.
    """
    return indices.long() * GOLDEN % 2**32
