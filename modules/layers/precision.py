"""Where mixed precision must not reach."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast on `like`'s device: singular values and embeddings keep their digits."""
    return torch.autocast(like.device.type, enabled=False)
