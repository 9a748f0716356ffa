"""Ways between noises, or between noisy images, that keep their length (spec §8)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.tensors import expand_as, norm_per_sample


def spherical(first: Tensor, last: Tensor, shares: Tensor) -> Tensor:
    """sin((1-u)θ)/sin θ · first + sin(uθ)/sin θ · last, θ the angle between the two (Shoemake 1985).

    Args:
        first, last: (b, ...).
        shares: (m,), u of each point on the way, in 0..1; u = 0 gives first and u = 1 last, to the bit.

    Returns:
        (b, m, ...); straight lines where the two are parallel.
    """
    cosine = (first * last).flatten(1).sum(1) / (norm_per_sample(first) * norm_per_sample(last))
    angle = cosine.clamp(-1, 1).acos()
    points = []
    for u in shares.tolist():
        if u in (0, 1):
            points.append(last if u else first)
            continue
        parallel = angle.sin() < 1e-6
        safe = torch.where(parallel, torch.ones_like(angle), angle)
        of_first = torch.where(parallel, 1 - u, ((1 - u) * safe).sin() / safe.sin())
        of_last = torch.where(parallel, u, (u * safe).sin() / safe.sin())
        points.append(expand_as(of_first, first) * first + expand_as(of_last, last) * last)
    return torch.stack(points, 1)
