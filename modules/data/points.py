"""Sets of points in the plane, made by code: a checkerboard, a ring of Gaussians, rings.

Point i of a set is a function of (seed, i) alone. The sets are as good as infinite: `length`
examples a pass, 2^20 unless told otherwise. All lie in about [-1, 1]², the range of images.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import gin
import numpy as np
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_choice, check_integer, check_number
from modules.core.noise import Noise
from modules.data.base import OTHERS, Data, Examples, made_contents

_NODES = 32  # of quadratures over a normal


class Points(Data):
    """A set of points (2,) with one label each: the square, mode or ring it belongs to.

    Args:
        num_parts: the number of these.
        num_classes: the same number, or 0 to leave the labels out.
        length: of one pass over the set, at most 2^32.
        seed: of the points.
    """

    kept_as: ClassVar[dict[str, str]] = {"num_modes": "num_parts", "num_rings": "num_parts"}

    def __init__(self, num_parts: int, num_classes: int, length: int, seed: int) -> None:
        super().__init__((2,), num_classes)
        name = type(self).__name__
        check_integer(f"{name}.length", length, low=1, high=2**32)
        check_integer(f"{name}.seed", seed)
        if num_classes not in (0, num_parts):
            raise ConfigurationError(
                f"{name}.num_classes must be {num_parts} or 0 (no labels), got {num_classes}"
            )
        self.num_parts, self.length, self.seed = num_parts, length, seed
        self.class_names = [str(i) for i in range(num_classes)]

    @abstractmethod
    def place(self, part: Tensor, noise: Noise) -> Tensor:
        """A point (n, 2) of each of the parts `part` (n,) int64."""

    @abstractmethod
    def cell(self, points: Tensor) -> Tensor:
        """The part that each point (n, 2) lies in: (n,) int64, -1 outside all of them."""

    def log_density(self, points: Tensor, scale: float = 1.0, noise: float = 0.0) -> Tensor:
        """log density (n,) float64 of scale·x + noise·ε at points (n, 2), x of the set; -∞ where it's 0."""
        raise NotImplementedError(f"{type(self).__name__} has no log_density")

    def with_split(self, name: str) -> Points:
        """ "train", the points themselves, or "test", as many others of the same law."""
        check_choice("--split", name, ("train", "test"))
        other = copy.copy(self)
        other.seed = self.seed if name == "train" else self.seed + OTHERS
        return other

    def open(self) -> Examples:
        return _PointExamples(self)


class _PointExamples(Examples):
    def __init__(self, points: Points) -> None:
        self.points, self.shape, self.class_names = points, points.shape, points.class_names

    def __len__(self) -> int:
        return self.points.length

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        noise = Noise(self.points.seed, indices, stream="points")
        part = noise.integers("part", 0, self.points.num_parts)
        label = part if self.points.num_classes else torch.full_like(part, -1)
        return self.points.place(part, noise), label[:, None]

    def contents(self) -> Iterator[bytes | memoryview]:
        return made_contents(self.points, self)


@gin.register
class Checkerboard(Points):
    """The papers' checkerboard: uniform on 8 of the 16 unit squares of [-2, 2]², times `scale`.

    Square (i, j), i, j = 0..3 from the lower left corner, is filled where i + j is even.

    Args:
        scale: multiplies the coordinates; 0.5 puts the board on [-1, 1]² with squares of side 0.5.
        num_classes: 8 (the square, 2i + j//2), or 0 to leave the labels out.
        length, seed: see `Points`.
    """

    def __init__(self, scale: float = 0.5, num_classes: int = 0, length: int = 2**20, seed: int = 0) -> None:
        super().__init__(8, num_classes, length, seed)
        check_number("Checkerboard.scale", scale, above=0)
        self.scale = scale

    def place(self, part: Tensor, noise: Noise) -> Tensor:
        column = part // 2
        row = 2 * (part % 2) + column % 2
        corner = torch.stack([column, row], 1) - 2.0
        return self.scale * (corner + noise.uniform("point", (2,)))

    def cell(self, points: Tensor) -> Tensor:
        """The filled square of each point (n, 2): (n,) int64 in 0..7, -1 outside all of them."""
        square = torch.floor(points / self.scale).long() + 2
        column, row = square[:, 0], square[:, 1]
        on_board = ((square >= 0) & (square <= 3)).all(1)
        filled = on_board & ((column + row) % 2 == 0)
        return torch.where(filled, 2 * column + row // 2, torch.full_like(column, -1))

    def log_density(self, points: Tensor, scale: float = 1.0, noise: float = 0.0) -> Tensor:
        """Uniform on the squares; noise smears their edges into differences Φ(high) - Φ(low)."""
        points, side = points.double(), self.scale * scale
        if noise == 0:
            inside = self.inside(points / scale)
            return torch.where(inside, -math.log(8 * side**2), torch.full_like(points[:, 0], -torch.inf))
        square = torch.arange(8)
        column, row = square // 2, 2 * (square % 2) + square // 2 % 2
        corner = side * (torch.stack([column, row], 1) - 2.0).to(points)  # (8, 2), the lower left ones
        high = (points[:, None] - corner) / noise
        low = high - side / noise
        right = low + high > 0  # there 1 - Φ keeps its digits
        low, high = torch.where(right, -high, low), torch.where(right, -low, high)
        log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
        log_mass = log_high + torch.log1p(-(log_low - log_high).exp())
        return log_mass.sum(2).logsumexp(1) - math.log(8 * side**2)

    def inside(self, points: Tensor) -> Tensor:
        """Whether each point (n, 2) lies in a filled square: (n,) bool."""
        return self.cell(points) >= 0


@gin.register
class GaussianMixture2D(Points):
    """Isotropic Gaussians of equal weight around a circle.

    Mode k of K has the mean radius·(cos 2πk/K, sin 2πk/K) and the covariance std²·I.

    Args:
        num_modes: K.
        radius, std: of the circle and of each mode.
        num_classes: K (the mode), or 0 to leave the labels out.
        length, seed: see `Points`.
    """

    def __init__(
        self,
        num_modes: int = 8,
        radius: float = 0.75,
        std: float = 0.08,
        num_classes: int = 0,
        length: int = 2**20,
        seed: int = 0,
    ) -> None:
        check_integer("GaussianMixture2D.num_modes", num_modes, low=1, high=10_000)
        check_number("GaussianMixture2D.radius", radius, low=0)
        check_number("GaussianMixture2D.std", std, above=0)
        super().__init__(num_modes, num_classes, length, seed)
        self.radius, self.std = radius, std

    @property
    def means(self) -> Tensor:
        """Means of the modes, (K, 2)."""
        angle = 2 * math.pi * torch.arange(self.num_parts) / self.num_parts
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)

    def place(self, part: Tensor, noise: Noise) -> Tensor:
        return self.means[part] + self.std * noise.normal("point", (2,))

    def log_density(self, points: Tensor, scale: float = 1.0, noise: float = 0.0) -> Tensor:
        """Of a mixture with the variances scale²·std² + noise²."""
        points = points.double()
        var = (scale * self.std) ** 2 + noise**2
        apart = (points[:, None] - scale * self.means.to(points)).square().sum(2)
        return (-apart / (2 * var)).logsumexp(1) - math.log(2 * math.pi * var * self.num_parts)

    def cell(self, points: Tensor) -> Tensor:
        """The nearest mode of each point (n, 2), -1 beyond 3 standard deviations (1.1% of exact ones)."""
        distance, mode = torch.cdist(points, self.means.to(points)).min(1)
        return torch.where(distance <= 3 * self.std, mode, -1)


@gin.register
class Rings(Points):
    """Concentric rings of equal weight: ring k of K at radius 0.9(k + 1)/K, with radial noise.

    Args:
        num_rings: K.
        std: of the normal radial noise.
        num_classes: K (the ring, from the inside), or 0 to leave the labels out.
        length, seed: see `Points`.
    """

    def __init__(
        self,
        num_rings: int = 2,
        std: float = 0.03,
        num_classes: int = 0,
        length: int = 2**20,
        seed: int = 0,
    ) -> None:
        check_integer("Rings.num_rings", num_rings, low=1, high=10_000)
        check_number("Rings.std", std, low=0)
        super().__init__(num_rings, num_classes, length, seed)
        self.std = std

    @property
    def radii(self) -> Tensor:
        """Radii of the rings, (K,)."""
        return 0.9 * torch.arange(1, self.num_parts + 1) / self.num_parts

    def place(self, part: Tensor, noise: Noise) -> Tensor:
        angle = 2 * math.pi * noise.uniform("angle")
        radius = self.radii[part] + self.std * noise.normal("radius", ())
        return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)

    def log_density(self, points: Tensor, scale: float = 1.0, noise: float = 0.0) -> Tensor:
        """With ρ the distance to the origin, σ the noise, s the radial one and R a ring's radius,

            log N(ρ; R, s² + σ²) + log E[ √(2π)/(2πσ) i0e(ρ r/σ²) ],   r ~ N(μ, s²σ²/(s² + σ²)),

        r the radius before noise, given ρ; by Gauss and Hermite's quadrature. Without noise E[...] = 1/(2πρ).
        Exact for rings far wider than s.
        """
        rho = points.double().norm(dim=1, keepdim=True)
        radii, std = scale * self.radii.to(rho), scale * self.std
        var = std**2 + noise**2
        log_each = -((rho - radii) ** 2) / (2 * var) - 0.5 * math.log(2 * math.pi * var)
        if noise > 0:
            nodes, weights = (torch.from_numpy(a).to(rho) for a in np.polynomial.hermite_e.hermegauss(_NODES))
            mean = (radii * noise**2 + rho * std**2) / var
            before = mean[..., None] + std * noise / math.sqrt(var) * nodes
            angular = torch.special.i0e(rho[..., None] * before / noise**2) @ (weights / weights.sum())
            log_each = log_each + angular.log() - 0.5 * math.log(2 * math.pi) - math.log(noise)
        else:
            log_each = log_each - math.log(2 * math.pi) - rho.log()
        return log_each.logsumexp(1) - math.log(self.num_parts)

    def cell(self, points: Tensor) -> Tensor:
        """The nearest ring of each point (n, 2), -1 beyond 3 standard deviations (0.3% of exact ones)."""
        distance, ring = (points.norm(dim=1)[:, None] - self.radii.to(points)).abs().min(1)
        return torch.where(distance <= 3 * self.std, ring, -1)
