"""Between grey values and the range [-1, 1] that networks see."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.core.types import NoiseSource


def to_unit_range(images: Tensor) -> Tensor:
    """8-bit values 0..255 to float32 in [-1, 1]: x/127.5 - 1. Floats pass as they are."""
    return images.float() / 127.5 - 1.0 if images.dtype == torch.uint8 else images.float()


def to_bytes(images: Tensor) -> Tensor:
    """[-1, 1] to 8 bits as evaluation does: clamp, then round((x + 1)·127.5) (spec §6). uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def dequantized(images: Tensor, grey_values: int, noise: NoiseSource) -> Tensor:
    """images (b, ...) of n grey values k·2/(n-1) - 1, spread evenly over each value's step 2/(n-1).

    The nearest value is spread, so that steps meet where 17 values, say, were stored as bytes.
    """
    u = noise.uniform("dequantization", tuple(images.shape[1:]))
    whole = ((images + 1) * ((grey_values - 1) / 2)).round()
    return (whole + (u - 0.5)) * (2 / (grey_values - 1)) - 1
