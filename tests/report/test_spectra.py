"""Spectral norms of the raw weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modules.layers.spectral import SpectralLinear, power_iterate
from modules.report.spectra import spectral_norms


def test_largest_and_smallest_over_layers() -> None:
    """Diagonal weights with largest entries 5 and 0.25, beside a layer that isn't normalized."""
    layers = [SpectralLinear(3, 3), SpectralLinear(3, 3), nn.Linear(3, 3)]
    with torch.no_grad():
        layers[0].weight.copy_(torch.diag(torch.tensor([1.0, -5.0, 2.0])))
        layers[1].weight.copy_(torch.diag(torch.tensor([0.25, 0.1, 0.0])))
        layers[2].weight.fill_(100.0)
    network = nn.Sequential(*layers)
    power_iterate(network, 50)
    found = spectral_norms({"energy": network, "initializer": nn.Linear(2, 2)})
    assert found == {
        "spectral_norm_largest/energy": pytest.approx(5, rel=1e-6),
        "spectral_norm_smallest/energy": pytest.approx(0.25, rel=1e-6),
    }
    assert network[0].weight.requires_grad and network[0].weight.grad is None
