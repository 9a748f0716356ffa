"""Energies known in closed form: the oracles that samplers, losses and likelihoods are tested against."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_shape
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.layers.embeddings import check_no_label

Numbers = float | Sequence["Numbers"] | Tensor


def _numbers(name: str, values: Numbers) -> Tensor:
    """float64, so that nothing is lost before the precision of y is known."""
    try:
        return torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} must be a number or rectangular lists of them: {error}") from None


def _expanded(name: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return values.expand(shape).clone()
    except RuntimeError:
        raise ConfigurationError(
            f"{name} has shape {tuple(values.shape)}, which doesn't fit {shape}"
        ) from None


def _log_normal(y: Tensor, mean: Tensor, variance: Tensor, transition: Transition) -> Tensor:
    """log density (b,) of y = y_scale · x_s where x ~ N(mean, diag variance): normalized, in y.

    x_s ~ N(alpha_s m, alpha_s² v + sigma_s²), so y has y_scale times that mean, y_scale² that variance.
    """
    scale, alpha, sigma = (
        expand_as(v.to(y.dtype), y) for v in (transition.y_scale, transition.alpha_s, transition.sigma_s)
    )
    center = scale * alpha * mean.to(y.dtype)
    spread = scale**2 * (alpha**2 * variance.to(y.dtype) + sigma**2)
    return -0.5 * sum_per_sample((y - center) ** 2 / spread + (2 * math.pi * spread).log())


@gin.register
class GaussianEnergy(Energy):
    """The exact energy of data x ~ N(mean, diag(variance)): E(y) = -energy_scale · log p(y) (spec §2).

    p is the normalized density of y = y_scale · x_s: no constant is left out. No parameters.

    Args:
        shape: of one sample.
        mean, variance: a number, or nested lists of one per element that broadcast to `shape`.

    Raises:
        ConfigurationError: shapes that don't fit, or a variance that isn't above 0.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, shape: tuple[int, ...], mean: Numbers = 0.0, variance: Numbers = 1.0) -> None:
        super().__init__(shape)
        for name, values in (("mean", mean), ("variance", variance)):
            owner = f"GaussianEnergy.{name}"
            self.register_buffer(name, _expanded(owner, _numbers(owner, values), self.shape))
        if not self.variance.is_meta and not bool((self.variance > 0).all()):
            raise ConfigurationError(f"GaussianEnergy.variance must be above 0, got {variance!r}")

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E (b,) of y (b, *shape)."""
        check_no_label(self, label)
        return -transition.energy_scale.to(y.dtype) * _log_normal(y, self.mean, self.variance, transition)


@gin.register
class MixtureEnergy(Energy):
    """The exact energy of data from Σ_k weights_k N(means_k, diag(variances_k)), as GaussianEnergy's.

    Args:
        means: K means, nested lists or a tensor (K, *shape); the shape of a sample is read from it.
        variances: a number, one per component (K,), or (K, *shape).
        weights: K numbers above 0, scaled to sum 1; None: equal.

    Raises:
        ConfigurationError: shapes that don't fit, or a variance or weight that isn't above 0.
    """

    means: Tensor
    variances: Tensor
    log_weights: Tensor

    def __init__(self, means: Numbers, variances: Numbers = 1.0, weights: Numbers | None = None) -> None:
        centers = _numbers("MixtureEnergy.means", means)
        super().__init__(check_shape("MixtureEnergy.means' entries", tuple(centers.shape[1:])))
        self.settings = {"weights": weights}
        spread = _numbers("MixtureEnergy.variances", variances)
        if spread.ndim == 1:  # one per component, not per element
            spread = spread.reshape(-1, *([1] * len(self.shape)))
        share = _numbers("MixtureEnergy.weights", [1.0] * len(centers) if weights is None else weights)
        if share.shape != (len(centers),):
            raise ConfigurationError(
                f"MixtureEnergy.weights must have one entry for each of {len(centers)} means, got {weights!r}"
            )
        for name, values in (("variances", spread), ("weights", share)):
            if not values.is_meta and not bool((values > 0).all()):
                raise ConfigurationError(f"MixtureEnergy.{name} must be above 0")
        self.register_buffer("means", centers)
        self.register_buffer("variances", _expanded("MixtureEnergy.variances", spread, tuple(centers.shape)))
        self.register_buffer("log_weights", (share / share.sum()).log())

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E (b,) of y (b, *shape)."""
        check_no_label(self, label)
        logs = [
            w.to(y.dtype) + _log_normal(y, m, v, transition)
            for w, m, v in zip(self.log_weights, self.means, self.variances, strict=True)
        ]
        return -transition.energy_scale.to(y.dtype) * torch.stack(logs).logsumexp(0)
