"""Spectral norms of a network's layers, to be watched."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from modules.layers.spectral import SpectralNormalized


@torch.no_grad()
def spectral_norms(networks: Mapping[str, nn.Module]) -> dict[str, float]:
    """{"spectral_norm_largest/NAME": ..., "spectral_norm_smallest/NAME": ...} of the raw weights.

    Of the layers with spectral norm, by their own power iterations; nothing of a network without any.
    """
    found = {}
    for name, network in networks.items():
        layers = [layer for layer in network.modules() if isinstance(layer, SpectralNormalized)]
        if layers:
            sigmas = torch.stack([layer.sigma() for layer in layers])
            found[f"spectral_norm_largest/{name}"] = float(sigmas.max())
            found[f"spectral_norm_smallest/{name}"] = float(sigmas.min())
    return found
