"""How far samples are from data, cheap enough to be watched during training."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.noise import Noise


def sliced_wasserstein(a: Tensor, b: Tensor, num_projections: int = 256, seed: int = 0) -> float:
    """Root-mean-square 2-Wasserstein distance of n samples each along fixed random directions.

    Bonneel et al. 2015, "Sliced and Radon Wasserstein barycenters". Healthy losses prove nothing of the
    samples, so a run prints this beside the distance of data to other data.

    Args:
        a, b: (n, ...) each.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    rows = torch.arange(num_projections, device=a.device)
    directions = Noise(seed, rows, stream="projections", dtype=torch.float64).normal("d", (a.shape[1],))
    directions = directions / directions.norm(dim=1, keepdim=True)
    quantiles_a, quantiles_b = ((x @ directions.T).sort(0).values for x in (a, b))
    return float((quantiles_a - quantiles_b).square().mean().sqrt())
