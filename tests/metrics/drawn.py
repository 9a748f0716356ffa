"""Numbers that tests of metrics measure."""

from __future__ import annotations

import torch
from torch import Tensor

torch.set_num_threads(1)

FLOAT64 = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)
