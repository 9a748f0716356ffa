"""Pieces of a network that return, beside their output, their own transposed derivative.

All is written in differentiable operations, out of place: what a pull returns is an ordinary forward value,
so a loss of a gradient takes one ordinary backward pass, and without grad mode the same code runs a chain.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from modules.layers.film_norm import FilmPull, normalize_film
from modules.layers.stages import Pull


def normalize_film_silu(
    h: Tensor, groups: int, eps: float, scale: Tensor, shift: Tensor
) -> tuple[Tensor, FilmPull]:
    """silu of normalize_film's z, and its pull."""
    z, pull_z = normalize_film(h, groups, eps, scale, shift)
    return F.silu(z), lambda g: pull_z(_SiluPull.apply(g.to(z.dtype), z))


class _SiluPull(torch.autograd.Function):
    """g silu'(z), and what it hands back: one pass each for what would be a dozen of elementary operations.

    With σ = sigmoid(z): silu' = σ + zσ(1 - σ), silu'' = σ(1 - σ)(2 + z(1 - 2σ)).
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(g, z)
        return torch.ops.aten.silu_backward(g, z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        g, z = ctx.saved_tensors
        s = torch.sigmoid(z)
        bent = torch.addcmul(s, s, s, value=-1).mul_((z * s).mul_(-2).add_(z).add_(2))
        return torch.ops.aten.silu_backward(v, z), bent.mul_(v).mul_(g)


def convolve(h: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Pull]:
    """The convolution of stride 1 that keeps the size; its pull is the transposed convolution."""
    padding = weight.shape[-1] // 2
    out = F.conv2d(h, weight, bias, padding=padding)
    return out, lambda g: F.conv_transpose2d(g, weight, padding=padding)


def convolve_doubled(h: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Pull]:
    """`convolve` of `double(h)` by one transposed convolution of stride 2, a tap more on a side.

    A 3x3 kernel takes 16 products a pixel of h for 36: neighbours that see the same pixel add up their taps.
    """
    taps = F.pad(weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
    rows = taps[..., :-1, :] + taps[..., 1:, :]
    kernel = rows[..., :-1] + rows[..., 1:]
    padding = weight.shape[-1] // 2
    out = F.conv_transpose2d(h, kernel, bias, stride=2, padding=padding)
    return out, lambda g: F.conv2d(g, kernel, stride=2, padding=padding)


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
