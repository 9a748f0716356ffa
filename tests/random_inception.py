"""Weights with the names and shapes of FID's Inception, drawn at random: the published ones aren't here."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from modules.features.inception import InceptionNetwork


def random_inception(folder: Path, seed: int = 0) -> Path:
    """A .pth file as torch.save writes it, with signals of order one in every layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = InceptionNetwork()
        for name, tensor in network.state_dict().items():
            if tensor.ndim > 1:
                nn.init.kaiming_normal_(tensor)
            elif name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    path = folder / "inception.pth"
    torch.save(network.state_dict(), path)
    return path
