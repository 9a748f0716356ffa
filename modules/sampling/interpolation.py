"""Ways between noises, or between noisy images, that keep their length (spec §8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.core.tensors import expand_as, norm_per_sample
from modules.core.types import NoiseSource


def spherical(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """sin((1-u)θ)/sin θ · first + sin(uθ)/sin θ · last, θ the angle between the two (Shoemake 1985).

    Args:
        first, last: (b, ...).
        share: (b,), u in 0..1; u = 0 gives first and u = 1 last, to the bit.

    Returns:
        shaped like first; points of straight lines where the two are parallel.
    """
    share = share.to(first)
    cosine = (first * last).flatten(1).sum(1) / (norm_per_sample(first) * norm_per_sample(last))
    angle = cosine.clamp(-1, 1).acos()
    parallel = angle.sin() < 1e-6
    safe = torch.where(parallel, torch.ones_like(angle), angle)
    of_first = torch.where(parallel, 1 - share, ((1 - share) * safe).sin() / safe.sin())
    of_last = torch.where(parallel, share, (share * safe).sin() / safe.sin())
    point = expand_as(of_first, first) * first + expand_as(of_last, last) * last
    point = torch.where(expand_as(share == 0, first), first, point)
    return torch.where(expand_as(share == 1, last), last, point)


@dataclass(frozen=True)
class NoiseOnTheWay:
    """Noises between those of two sources: each draw of normals moves by itself, spherically (spec §8).

    Uniforms and integers, which sampling doesn't draw, are the first's.

    Args:
        first, last: of b rows each.
        share: (b,), u in 0..1 of each row; at 0 and 1 all normals are first's and last's, to the bit.
    """

    first: NoiseSource
    last: NoiseSource
    share: Tensor

    def normal(self, purpose: str, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        """See NoiseSource.normal."""
        first, last = (noise.normal(purpose, shape, draw) for noise in (self.first, self.last))
        return spherical(first, last, self.share)

    def normals(self, purpose: str, shape: tuple[int, ...], count: int) -> Iterator[Tensor]:
        """See NoiseSource.normals."""
        ends = (noise.normals(purpose, shape, count) for noise in (self.first, self.last))
        for first, last in zip(*ends, strict=True):
            yield spherical(first, last, self.share)

    def uniform(self, purpose: str, shape: tuple[int, ...] = (), draw: int = 0) -> Tensor:
        """See NoiseSource.uniform."""
        return self.first.uniform(purpose, shape, draw)

    def integers(self, purpose: str, low: int, high: int) -> Tensor:
        """See NoiseSource.integers."""
        return self.first.integers(purpose, low, high)

    def child(self, name: str) -> NoiseOnTheWay:
        """See NoiseSource.child."""
        return NoiseOnTheWay(self.first.child(name), self.last.child(name), self.share)

    def take(self, rows: Tensor | slice) -> NoiseOnTheWay:
        """See NoiseSource.take."""
        return NoiseOnTheWay(self.first.take(rows), self.last.take(rows), self.share[rows])

    def to(self, device: torch.device) -> NoiseOnTheWay:
        """See NoiseSource.to."""
        return NoiseOnTheWay(self.first.to(device), self.last.to(device), self.share.to(device))
