"""The forward process: noisy levels from clean data, and its posterior (spec §1, §5)."""

from __future__ import annotations

from torch import Tensor

from modules.core.tensors import expand_as
from modules.core.types import NoiseSource, Transition


def marginal(x: Tensor, alpha: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """x_t = alpha x + sigma ε, with alpha and sigma (b,)."""
    return expand_as(alpha, x) * x + expand_as(sigma, x) * eps


def shared_noise_pair(x: Tensor, transition: Transition, noise: NoiseSource) -> tuple[Tensor, Tensor]:
    """CDRL's pair (x_s, x_t): one ε in both levels (spec §5)."""
    eps = noise.normal("eps", tuple(x.shape[1:]))
    x_s = marginal(x, transition.alpha_s, transition.sigma_s, eps)
    return x_s, marginal(x, transition.alpha_t, transition.sigma_t, eps)


def independent_pair(x: Tensor, transition: Transition, noise: NoiseSource) -> tuple[Tensor, Tensor]:
    """DRL's pair (x_s, x_t): x_s from x, then x_t from x_s with fresh noise (spec §5)."""
    shape = tuple(x.shape[1:])
    x_s = marginal(x, transition.alpha_s, transition.sigma_s, noise.normal("eps", shape))
    return x_s, marginal(x_s, transition.alpha_ts, transition.sigma_ts, noise.normal("eps_step", shape))


def posterior_mean(x: Tensor, x_t: Tensor, transition: Transition) -> Tensor:
    """E_q[x_s | x_t, x] = √ᾱ_s σ_t²/(1-ᾱ_t) x + √α_t (1-ᾱ_s)/(1-ᾱ_t) x_t (spec §5)."""
    total = transition.sigma_t**2
    of_x = transition.alpha_s * transition.sigma_ts**2 / total
    of_x_t = transition.alpha_ts * transition.sigma_s**2 / total
    return expand_as(of_x, x) * x + expand_as(of_x_t, x) * x_t
