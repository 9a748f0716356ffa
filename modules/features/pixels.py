"""Samples as their own features."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.features.base import Extracted, Extractor, Features, check_bytes


@gin.register
class RawPixels(Extractor):
    """The pixels, in [-1, 1], one after another; a point's coordinates."""

    def open(self, shape: tuple[int, ...], device: torch.device) -> Features:
        return Features(_extract, {"extractor": "RawPixels", "weights": None, "resize": None}, False)


def _extract(x: Tensor) -> Extracted:
    if x.ndim == 4:
        check_bytes(x)
    x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x.float()
    return Extracted(x.flatten(1))
