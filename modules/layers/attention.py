"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.layers.embeddings import Embedded
from modules.layers.normalization import frozen_norm
from modules.layers.precision import compute_dtype
from modules.layers.spectral import snapshot
from modules.layers.stages import FunctionStage, Stage


class SelfAttention(nn.Module):
    """h + out(softmax(q kᵀ/√d) v) in each head, q, k, v = 1x1 convolutions of norm(h) (spec §7).

    The products are written out: fused attention has no second derivatives, which an energy may need (§9).
    The weight of `out` starts at zero, as published for CDRL.

    Args:
        channels: of h, a multiple of the heads.
        norm: of h, a GroupNorm or Identity.
        num_heads: equal shares of the channels, d each, that attend by themselves.
    """

    def __init__(self, channels: int, norm: nn.Module, num_heads: int = 1) -> None:
        super().__init__()
        self.norm, self.num_heads = norm, num_heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def freeze(self, embedded: Embedded | None, dtype: torch.dtype) -> Stage:
        """The layer with its weights taken now, in dtype; no use of the embedding."""
        norm, qkv, out = frozen_norm(self.norm, dtype), snapshot(self.qkv, dtype), snapshot(self.out, dtype)

        def evaluate(h: Tensor) -> Tensor:
            inner = h if norm is None else norm(h)
            heads = F.conv2d(inner, *qkv).flatten(2).unflatten(1, (3, self.num_heads, -1))
            query, key, value = heads.unbind(1)  # (b, heads, d, pixels) each
            scores = query.transpose(2, 3) @ key * key.shape[2] ** -0.5  # (b, heads, pixels, pixels)
            mixed = value @ scores.softmax(-1).transpose(2, 3)
            return h + F.conv2d(mixed.reshape(h.shape), *out)

        return FunctionStage(evaluate)

    def forward(self, h: Tensor) -> Tensor:
        """(b, c, h, w) -> the same."""
        return self.freeze(None, compute_dtype(h))(h)
