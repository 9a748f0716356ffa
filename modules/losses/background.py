"""A thin layer of everything else under the data, so that densities are known away from them too."""

from __future__ import annotations

import gin
import torch
import torch.nn.functional as F
from torch import Tensor

from modules.core.checks import check_number
from modules.core.tensors import expand_as
from modules.core.types import NoiseSource


@gin.register
class Background:
    """Scores are learned of (1 - m)·p + m·b, m small and b broad (a contaminated density, Huber 1964).

    No noisy example comes near most images at low noise, so that a network's energy there is as chance has
    it; with b it has a law to learn everywhere. b is a Gaussian: of images the sum of noise on grids of 1x1,
    2x2, 4x4, ... places and of one on every pixel, each spread over the whole image and of standard deviation
    `std`; of vectors white. A share s of the rows are drawn from b, and weighed by m/s.

    Args:
        mass: m, about the share of samples that will be background.
        share: s.
        std: of each of the noises, in the data's units.
    """

    def __init__(self, mass: float = 0.005, share: float = 0.1, std: float = 0.4) -> None:
        check_number("Background.mass", mass, above=0, below=1)
        check_number("Background.share", share, above=0, below=1)
        check_number("Background.std", std, above=0)
        self.mass, self.share, self.std = mass, share, std

    def mix(self, x: Tensor, noise: NoiseSource) -> tuple[Tensor, Tensor]:
        """x (b, *shape) with about share·b of its rows replaced by draws of b, and the rows' weights (b,)."""
        replaced = noise.uniform("background") < self.share
        weights = torch.where(replaced, self.mass / self.share, (1 - self.mass) / (1 - self.share))
        return torch.where(expand_as(replaced, x), self.draw(x, noise), x), weights.to(x.dtype)

    def draw(self, like: Tensor, noise: NoiseSource) -> Tensor:
        """Draws of b, shaped like (b, *shape)."""
        source, shape = noise.child("background"), tuple(like.shape[1:])
        total = source.normal("elements", shape)
        side = 1
        while len(shape) == 3 and side < max(shape[1:]):
            places = (shape[0], min(side, shape[1]), min(side, shape[2]))
            total = total + F.interpolate(source.normal(f"grid of {side}", places), size=shape[1:])
            side *= 2
        return self.std * total
