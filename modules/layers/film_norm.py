"""GroupNorm with a scale and a shift a sample (FiLM), its derivative and that one's derivative written out.

Elementary operations would pass over the features some fifty times where a handful does: in a loss of a
gradient they took as long as its convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

FilmPull = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Gradient in the output -> gradients in the input, in the scale and in the shift (b, c)."""


def normalize_film(
    h: Tensor, groups: int, eps: float, scale: Tensor, shift: Tensor
) -> tuple[Tensor, FilmPull]:
    """z = x̂·scale + shift, x̂ = (h - μ) r of each group, r = 1/√(var + eps), and its pull.

    With d the gradient in z, m the mean over a group, e = d·scale: r (e - m(e) - x̂ m(e x̂)) in h, and, summed
    over pixels, Σ d x̂ in the scale and Σ d in the shift. Autograd knows z twice and the pull once.

    Args:
        h: (b, c, height, width); taken in the scale's precision.
        groups, eps: a GroupNorm's.
        scale, shift: (b, c).
    """
    h = h.to(scale.dtype).contiguous()
    z, mean, rstd = _Film.apply(h, scale, shift, groups, eps)
    return z, lambda d: _FilmPull.apply(d.to(h.dtype).contiguous(), h, scale, mean, rstd)


class _Film(torch.autograd.Function):
    """(h, scale, shift) -> z, μ and r (b, groups): torch's kernel, all samples as channels of one."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, scale: Tensor, shift: Tensor, groups: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, channels = scale.shape
        rows = batch * channels
        scale = scale.contiguous()
        z, mean, rstd = torch.ops.aten.native_group_norm(
            h.view(1, rows, -1),
            scale.view(rows),
            shift.reshape(rows),
            1,
            rows,
            h[0, 0].numel(),
            batch * groups,
            eps,
        )
        mean, rstd = mean.view(batch, groups), rstd.view(batch, groups)
        ctx.save_for_backward(h, scale, mean, rstd)
        ctx.mark_non_differentiable(mean, rstd)
        return z.view(h.shape), mean, rstd

    @staticmethod
    def backward(ctx: Any, d: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        h, scale, mean, rstd = ctx.saved_tensors
        return (*_FilmPull.apply(d.contiguous(), h, scale, mean, rstd), None, None)


class _FilmPull(torch.autograd.Function):
    """(d, h, scale) -> the gradients in h, scale and shift, given what the forward pass found of h.

    μ and r come as numbers; that they are functions of h is in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, d: Tensor, h: Tensor, scale: Tensor, mean: Tensor, rstd: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        in_h, in_scale, in_shift = _kernel(d, h, scale, mean, rstd, True)
        ctx.save_for_backward(d, h, scale, mean, rstd, in_scale, in_shift)
        return in_h.view(h.shape), in_scale, in_shift

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        """Of L = <v, in_h> + <a, in_scale> + <b, in_shift>, with N(v) = r (v - m(v) - x̂ m(v x̂)):

        in d:      scale N(v) + a x̂ + b
        in scale:  Σ d N(v)
        in h:      N(u) - r² x̂ s, where u = dL/dx̂ = a d - r (v m(e x̂) + e m(v x̂)), e = d·scale, and
                   s = dL/dr / n = m(v e) - m(v) m(e) - m(v x̂) m(e x̂)

        Every mean is one of sums over pixels, and what is left are combinations of v, d and h by channel.
        """
        d, h, scale, mean, rstd, dx, d1 = ctx.saved_tensors
        v = v.contiguous()
        _, vx, v1 = _kernel(v, h, scale, mean, rstd, False)
        vd = (v * d).sum((2, 3))
        grouped = (*mean.shape, -1)  # (b, groups, channels a group); what is one of a group is (b, groups, 1)
        scale, v1, vx, d1, dx, vd, a, b = (x.view(grouped) for x in (scale, v1, vx, d1, dx, vd, a, b))
        mean, r = mean[..., None], rstd[..., None]
        n = scale.shape[-1] * h[0, 0].numel()

        products = torch.stack([v1, vx, scale * d1, scale * dx, scale * vd]).sum(-1, keepdim=True) / n
        m_v, m_vx, m_e, m_ex, m_ve = products
        s = m_ve - m_v * m_e - m_vx * m_ex
        flat, bent = r * m_v, r * m_vx
        in_scale = r * vd - flat * d1 - bent * dx
        by_x = torch.addcmul(a, scale, bent, value=-1)  # of x̂ in d's gradient, of d in u
        by_v = -r * m_ex  # of v in u
        m_u, m_ux = torch.stack([by_x * d1, by_x * dx]).sum(-1, keepdim=True) / n
        m_u, m_ux = m_u + by_v * m_v, m_ux + by_v * m_vx
        of_x = -r * (m_ux + r * s)  # of x̂ in h's gradient

        # x̂ = r h - r μ
        k, of_h = r * by_x, r * of_x
        in_d = _combine(v, torch.addcmul(b - scale * flat, k, mean, value=-1), scale * r, (h, k))
        rest = -r * m_u - of_h * mean
        in_h = _combine(d, rest.expand_as(k), k, (h, of_h.expand_as(k)), (v, (r * by_v).expand_as(k)))
        return in_d, in_h, in_scale.flatten(1), None, None


def _kernel(
    d: Tensor, h: Tensor, scale: Tensor, mean: Tensor, rstd: Tensor, in_h: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """torch's own pull of a GroupNorm: gradients in h, if wanted, in the scale and in the shift."""
    (batch, channels), groups = scale.shape, mean.numel()
    rows, pixels = batch * channels, h[0, 0].numel()
    found = torch.ops.aten.native_group_norm_backward(
        d.view(1, rows, pixels),
        h.view(1, rows, pixels),
        mean.view(1, groups),
        rstd.view(1, groups),
        scale.reshape(rows),
        1,
        rows,
        pixels,
        groups,
        [in_h, True, True],
    )
    return found[0], found[1].view(batch, channels), found[2].view(batch, channels)


def _combine(features: Tensor, constant: Tensor, factor: Tensor, *others: tuple[Tensor, Tensor]) -> Tensor:
    """constant + Σ factor·features, features (b, c, height, width), the others (b, groups, c/groups)."""
    wide = (*features.shape[:2], 1, 1)
    out = features * factor.reshape(wide)
    out.add_(constant.reshape(wide))
    for features, factor in others:
        out.addcmul_(features, factor.reshape(wide))
    return out
