"""Dropout is found wherever it is, and comes back after a look without it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from modules.energies.drl_resnet import RecoveryResNet
from modules.energies.image import NetworkEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.unet import UNetEnergy
from modules.layers.dropout import drops_out, without_dropout

SMALL = {"dim": 8, "dim_mults": (1,), "num_blocks": 1, "attention_resolutions": (), "groups": 4}


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_every_kind_of_dropout_is_found(rate: float) -> None:
    for network in (
        nn.Sequential(nn.Linear(2, 2), nn.Dropout(rate)),
        NormalizedEnergy(UNetEnergy((1, 8, 8), dropout=rate, **SMALL)),
        RecoveryResNet((1, 8, 8), channels=8, channel_mult=(1,), num_blocks=1, dropout=rate),
        nn.TransformerEncoderLayer(8, 2, 8, dropout=rate),  # keeps modules under that name
        NormalizedEnergy(NetworkEnergy(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout2d(rate)), (1, 8, 8))),
    ):
        assert drops_out(network) == (rate > 0)


def test_units_come_back_after_a_look_without_dropout() -> None:
    frozen = nn.Dropout(0.5).eval()
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4), frozen)
    x = torch.ones(64, 4)
    with without_dropout(network):
        assert torch.equal(network[0](x), x)
        assert network[1].training and not frozen.training
    assert not torch.equal(network[0](x), x) and not frozen.training
    with pytest.raises(KeyError), without_dropout(network):
        raise KeyError
    assert network[0].training
