"""Where mixed precision must not reach, and where it does."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on `like`'s device: singular values and embeddings keep their digits."""
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)


def compute_dtype(weight: Tensor) -> torch.dtype:
    """In which a network computes now: autocast's dtype where it is on, else the weight's."""
    if not weight.is_meta and torch.is_autocast_enabled(weight.device.type):
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype
