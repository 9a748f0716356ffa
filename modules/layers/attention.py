"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.layers.embeddings import Embedded
from modules.layers.film_norm import normalize_film
from modules.layers.linearized import attend, convolve
from modules.layers.normalization import frozen_norm, group_norm_as_film
from modules.layers.precision import compute_dtype
from modules.layers.spectral import snapshot
from modules.layers.stages import FunctionStage, Pull, Stage


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
            mixed, _ = attend(F.conv2d(inner, *qkv), self.num_heads)
            return h + F.conv2d(mixed, *out)

        return FunctionStage(evaluate)

    def linearize(self, h: Tensor) -> tuple[Tensor, Pull]:
        """The layer at h and its transposed derivative, in differentiable operations."""
        inner, pull_norm = h, None
        if isinstance(self.norm, nn.GroupNorm):
            inner, pull_norm = normalize_film(h, *group_norm_as_film(self.norm, len(h)))
        split, pull_split = convolve(inner, self.qkv.weight, self.qkv.bias)
        mixed, pull_mixed = attend(split, self.num_heads)
        out, pull_out = convolve(mixed, self.out.weight, self.out.bias)

        def pull(g: Tensor) -> Tensor:
            inner = pull_split(pull_mixed(pull_out(g)))
            return g + (inner if pull_norm is None else pull_norm(inner)[0])

        return h + out, pull

    def forward(self, h: Tensor) -> Tensor:
        """(b, c, h, w) -> the same."""
        return self.freeze(None, compute_dtype(h))(h)
