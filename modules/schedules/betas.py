"""Ladders from variances β of fine steps."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_betas(num_fine: int, beta_min: float, beta_max: float) -> Tensor:
    return torch.linspace(beta_min, beta_max, num_fine, dtype=torch.float64)


def ladder(log_alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """ᾱ and 1 - ᾱ from log ᾱ, accurate at both ends."""
    return log_alpha_bar.exp(), torch.expm1(log_alpha_bar).abs()
