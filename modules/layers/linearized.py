"""Pieces of a network that return, beside their output, their own transposed derivative.

All is written in differentiable operations, out of place: what a pull returns is an ordinary forward value,
so a loss of a gradient takes one ordinary backward pass, and without grad mode the same code runs a chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from modules.layers.stages import Pull

FilmPull = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Gradient in the output -> gradients in the input, in the scale and in the shift (b, c)."""


def normalize_film_silu(
    h: Tensor, groups: int, eps: float, scale: Tensor, shift: Tensor
) -> tuple[Tensor, FilmPull]:
    """silu(x̂·scale + shift), x̂ = h normalized by group; h (b, c, height, width), scale and shift (b, c).

    With n elements a group, r = 1/√(var + eps) and d = gradient in x̂:
    gradient in h = r (d - mean(d) - x̂ mean(d x̂)), the means over each group.
    """
    batch, channels = h.shape[:2]
    wide, n = (batch, channels, 1, 1), h[0].numel() // groups
    normal = F.group_norm(h, groups, None, None, eps)
    # mean(x̂ h) = r var = 1/r - eps r, solved for r: far cheaper on a CPU than to ask for the variance
    moment = (normal * h).reshape(batch, groups, n).mean(-1)
    deviation = 2 / (moment + (moment**2 + 4 * eps).sqrt())  # r, (b, groups)
    z = torch.addcmul(shift.reshape(wide), normal, scale.reshape(wide))

    def pull(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        d = _SiluPull.apply(g.to(z.dtype), z)
        in_shift = d.sum((2, 3))
        in_scale = (d * normal).sum((2, 3))

        def mean(of_channels: Tensor) -> Tensor:
            """Of d·scale over each group, (b, groups) from sums over pixels (b, c)."""
            return (of_channels * scale).reshape(batch, groups, -1).sum(-1) / n

        def spread(of_groups: Tensor) -> Tensor:
            return of_groups.repeat_interleave(channels // groups, 1).reshape(wide)

        rate = spread(deviation) * scale.reshape(wide)
        flat = spread(deviation * mean(in_shift))
        tilt = spread(deviation * mean(in_scale))
        in_h = torch.addcmul(torch.addcmul(-flat, d, rate), normal, tilt, value=-1)
        return in_h, in_scale, in_shift

    return F.silu(z), pull


class _SiluPull(torch.autograd.Function):
    """g silu'(z), and what it hands back: one pass each for what would be a dozen of elementary operations.

    With σ = sigmoid(z): silu' = σ + zσ(1 - σ), silu'' = σ(1 - σ)(2 + z(1 - 2σ)). Differentiable again.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(g, z)
        return torch.ops.aten.silu_backward(g, z)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        g, z = ctx.saved_tensors
        s = torch.sigmoid(z)
        bent = torch.addcmul(s, s, s, value=-1) * torch.addcmul(z + 2, z, s, value=-2)
        return _SiluPull.apply(v, z), v * g * bent


def convolve(h: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Pull]:
    """The convolution of stride 1 that keeps the size; its pull is the transposed convolution."""
    padding = weight.shape[-1] // 2
    out = F.conv2d(h, weight, bias, padding=padding)
    return out, lambda g: F.conv_transpose2d(g, weight, padding=padding)


def halve(h: Tensor) -> tuple[Tensor, Pull]:
    """Means of 2x2 pixels."""
    return F.avg_pool2d(h, 2), lambda g: 0.25 * F.interpolate(g, scale_factor=2.0, mode="nearest")


def double(h: Tensor) -> tuple[Tensor, Pull]:
    """Nearest neighbours at twice the resolution."""
    return F.interpolate(h, scale_factor=2.0, mode="nearest"), lambda g: 4.0 * F.avg_pool2d(g, 2)


def attend(h: Tensor, heads: int = 1) -> tuple[Tensor, Pull]:
    """softmax(q kᵀ/√d) v over the pixels of h = (q, k, v), d = c/heads: (b, 3c, ...) -> (b, c, ...)."""
    batch, channels = h.shape[0], h.shape[1] // 3
    split = (batch, 3, heads, channels // heads, -1)
    query, key, value = h.reshape(split).unbind(1)  # (b, heads, d, pixels)
    factor = (channels // heads) ** -0.5
    weights = (query.transpose(-1, -2) @ key * factor).softmax(-1)  # (b, heads, to, from)
    mixed = value @ weights.transpose(-1, -2)

    def pull(g: Tensor) -> Tensor:
        g = g.reshape(mixed.shape)
        in_value = g @ weights
        in_weights = g.transpose(-1, -2) @ value
        in_scores = factor * weights * (in_weights - (in_weights * weights).sum(-1, keepdim=True))
        in_query = key @ in_scores.transpose(-1, -2)
        in_key = query @ in_scores
        return torch.stack([in_query, in_key, in_value], 1).reshape(h.shape)

    return mixed.reshape(batch, channels, *h.shape[2:]), pull
