"""Linear measurements of images, b = A x + σ n, as a part of what chains follow (inverse problems)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import gin
import torch
import torch.nn.functional as F
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer, check_number
from modules.core.noise import Noise
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import Potential, Transition


class LinearMap(ABC):
    """A, linear in x (b, *shape), each sample by itself; its adjoint is autograd's.

    Attributes:
        norm_squared: the largest eigenvalue of A Aᵀ, or more.
    """

    norm_squared: float

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """A x, (b, ...)."""


@gin.register
class Downsampling(LinearMap):
    """Means over blocks of factor x factor pixels; A Aᵀ = I/factor².

    Args:
        factor: of height and width, which it divides.
    """

    def __init__(self, factor: int = 2) -> None:
        check_integer("Downsampling.factor", factor, low=1)
        self.factor, self.norm_squared = factor, 1 / factor**2

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise ConfigurationError(
                f"Downsampling.factor {self.factor} doesn't divide samples of shape {tuple(x.shape[1:])}"
            )
        return F.avg_pool2d(x, self.factor)


@gin.register
class Blur(LinearMap):
    """Gaussian blur with zeros beyond the edge, so that no eigenvalue is above 1.

    Args:
        width: standard deviation in pixels.
    """

    norm_squared = 1.0

    def __init__(self, width: float = 1.0) -> None:
        check_number("Blur.width", width, above=0, high=100)
        self.width = width
        reach = max(1, round(3 * width))
        weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / width) ** 2)
        self._kernel = weights / weights.sum()

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ConfigurationError(f"Blur takes images, not samples of shape {tuple(x.shape[1:])}")
        kernel, channels = self._kernel.to(x), x.shape[1]
        reach = len(kernel) // 2
        rows = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
        columns = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
        x = F.conv2d(x, rows, padding=(reach, 0), groups=channels)
        return F.conv2d(x, columns, padding=(0, reach), groups=channels)


@gin.register
class RandomPixels(LinearMap):
    """A share of the pixels, chosen at random, the same of all samples; the others give 0. |A|² = 1.

    Args:
        share: of the pixels that are measured. seed: of which.
    """

    norm_squared = 1.0

    def __init__(self, share: float = 0.5, seed: int = 0) -> None:
        check_number("RandomPixels.share", share, above=0, high=1)
        check_integer("RandomPixels.seed", seed)
        self.share, self.seed = share, seed

    def __call__(self, x: Tensor) -> Tensor:
        row = torch.zeros(1, dtype=torch.int64, device=x.device)
        pixels = (1, *x.shape[2:]) if x.ndim == 4 else tuple(x.shape[1:])  # all channels of a pixel alike
        chance = Noise(self.seed, row, stream="pixels").uniform("pixel", pixels)
        return x * (chance < self.share).to(x.dtype)


@dataclass(frozen=True)
class Measured:
    """Measurements b (n, ...) of n samples: b = A x + σ n, n ~ N(0, I)."""

    values: Tensor
    map: LinearMap
    sigma: float

    def take(self, rows: Tensor | slice) -> Measured:
        """Of some of the samples."""
        return Measured(self.values[rows], self.map, self.sigma)

    def to(self, device: torch.device) -> Measured:
        """On a device."""
        return Measured(self.values.to(device), self.map, self.sigma)

    def tie(self, potential: Potential, transition: Transition) -> Potential:
        """The potential of a level with -log p(b | x_s) added."""
        return MeasuredPotential(potential, self, transition)


class MeasuredPotential:
    """U(y) + ||A x_s/√ᾱ_s - b||²/(2(σ² + |A|² σ̄_s²/ᾱ_s)), x_s = y/y_scale.

    The second term is -log p(b | x_s) of data spread evenly, where x given x_s is N(x_s/√ᾱ_s, σ̄_s²/ᾱ_s I),
    with |A|² in the place of A Aᵀ. At the noisy levels it leads the way; at level 0 it is ||A x - b||²/(2σ²)
    but for that level's own small noise.
    """

    def __init__(self, potential: Potential, measured: Measured, transition: Transition) -> None:
        self._potential, self._measured = potential, measured
        self.y_scale = transition.y_scale
        self._shrink = 1 / (transition.alpha_s * transition.y_scale)
        widening = measured.map.norm_squared * (transition.sigma_s / transition.alpha_s) ** 2
        self._precision = 1 / (measured.sigma**2 + widening)

    def __call__(self, y: Tensor) -> Tensor:
        """U (b,)."""
        return self._potential(y) + self._misfit(y)

    def grad(self, y: Tensor) -> Tensor:
        """∇U, shaped like y, detached."""
        return self._potential.grad(y) + self._misfit_and_grad(y)[1]

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """U (b,) and ∇U, detached."""
        value, grad = self._potential.value_and_grad(y)
        misfit, slope = self._misfit_and_grad(y)
        return value + misfit, grad + slope

    def _misfit(self, y: Tensor) -> Tensor:
        away = self._measured.map(expand_as(self._shrink, y) * y) - self._measured.values
        return 0.5 * self._precision * sum_per_sample(away**2)

    def _misfit_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            value = self._misfit(y)
            (slope,) = torch.autograd.grad(value.sum(), y)
        return value.detach(), slope
