"""A single noise level, anywhere on the way (spec §13)."""

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
