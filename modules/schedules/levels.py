"""A single noise level, or a pair of them, anywhere on the way (spec §13)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.core.types import Transition


def level(logsnr: Tensor) -> Transition:
    """The marginal at λ (b,) as a transition: s is the level, y = x_s, t is pure noise, nothing ties y.

    ᾱ = sigmoid(λ), σ̄² = sigmoid(-λ); energy_scale = σ̄, so that -log p(x) = E/σ̄ + const (spec §13), and
    step_size = σ̄. Differentiable in λ.
    """
    one, zero = torch.ones_like(logsnr), torch.zeros_like(logsnr)
    alpha, sigma = torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr).sqrt()
    return Transition(
        t=torch.ones_like(logsnr, dtype=torch.int64),
        alpha_t=zero,
        alpha_s=alpha,
        sigma_t=one,
        sigma_s=sigma,
        alpha_ts=zero,
        sigma_ts=one,
        posterior_var=sigma**2,
        logsnr_t=torch.full_like(logsnr, -torch.inf),
        logsnr_s=logsnr,
        energy_scale=sigma,
        step_size=sigma,
        loss_weight=one,
        is_top=torch.ones_like(logsnr, dtype=torch.bool),
        y_scale=one,
    )


def pair(logsnr_s: Tensor, logsnr_t: Tensor) -> Transition:
    """The transition between any two levels λ_s > λ_t, (b,) each, in §13's coordinates; t is 1 everywhere.

    energy_scale = σ̄_s, y = x_s, and step_size is the recovery conditional's width, as ContinuousSchedule's.
    """
    alpha_s, sigma_s = torch.sigmoid(logsnr_s).sqrt(), torch.sigmoid(-logsnr_s).sqrt()
    alpha_t, sigma_t = torch.sigmoid(logsnr_t).sqrt(), torch.sigmoid(-logsnr_t).sqrt()
    # 1 - α = σ̄_t² (1 - e^{λ_t - λ_s}): without a difference of numbers that are nearly one
    step_var = sigma_t**2 * -torch.expm1(logsnr_t - logsnr_s)
    one, alpha_ts = torch.ones_like(logsnr_s), alpha_t / alpha_s
    return Transition(
        t=torch.ones_like(logsnr_s, dtype=torch.int64),
        alpha_t=alpha_t,
        alpha_s=alpha_s,
        sigma_t=sigma_t,
        sigma_s=sigma_s,
        alpha_ts=alpha_ts,
        sigma_ts=step_var.sqrt(),
        posterior_var=sigma_s**2 / sigma_t**2 * step_var,
        logsnr_t=logsnr_t,
        logsnr_s=logsnr_s,
        energy_scale=sigma_s,
        step_size=(1 / sigma_s**2 + alpha_ts**2 / step_var).rsqrt(),
        loss_weight=one,
        is_top=torch.zeros_like(logsnr_s, dtype=torch.bool),
        y_scale=one,
    )
