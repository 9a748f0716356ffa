"""A NoiseSource that gives out recorded numbers, in the places where the recorded procedure used them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class Replay:
    """Normals by (purpose, draw), or by (child, purpose, draw) within a child; integers by purpose."""

    def __init__(
        self, normals: dict[tuple, Tensor], integers: dict[str, Tensor] | None = None, path=()
    ) -> None:
        self.recorded, self.whole, self.path = normals, integers or {}, path

    def normal(self, purpose: str, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        z = self.recorded[(*self.path, purpose, draw)]
        assert z.shape[1:] == torch.Size(shape)
        return z

    def normals(self, purpose: str, shape: tuple[int, ...], count: int) -> Iterator[Tensor]:
        return (self.normal(purpose, shape, draw) for draw in range(count))

    def uniform(self, purpose: str, shape: tuple[int, ...] = (), draw: int = 0) -> Tensor:
        return torch.ones(len(next(iter(self.recorded.values()))), *shape)

    def integers(self, purpose: str, low: int, high: int) -> Tensor:
        return self.whole[purpose]

    def child(self, name: str) -> Replay:
        return Replay(self.recorded, self.whole, (*self.path, name))
