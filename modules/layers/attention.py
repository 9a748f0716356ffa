"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from modules.layers.normalization import frozen_norm
from modules.layers.spectral import snapshot


class SelfAttention(nn.Module):
    """h + out(softmax(q kᵀ/√c) v) with one head, q, k, v = 1x1 convolutions of norm(h); spec §7.

    The products are written out: fused attention has no second derivatives, which an energy may need (§9).

    Args:
        channels: c.
        norm: of h, a GroupNorm or Identity.
    """

    def __init__(self, channels: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def freeze(self, embedding: Tensor) -> Callable[[Tensor], Tensor]:
        """The layer with its weights taken now; no use of the embedding."""
        norm, qkv, out = frozen_norm(self.norm), snapshot(self.qkv), snapshot(self.out)

        def evaluate(h: Tensor) -> Tensor:
            query, key, value = F.conv2d(norm(h), *qkv).flatten(2).chunk(3, dim=1)  # (b, c, pixels) each
            scores = query.transpose(1, 2) @ key * h.shape[1] ** -0.5  # (b, pixels, pixels)
            mixed = value @ scores.softmax(-1).transpose(1, 2)
            return h + F.conv2d(mixed.reshape(h.shape), *out)

        return evaluate

    def forward(self, h: Tensor) -> Tensor:
        """(b, c, h, w) -> the same."""
        return self.freeze(h)(h)
