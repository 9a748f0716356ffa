"""One plain network in two roles: an initializer adds x_t and reads λ_t, an energy reads λ_s."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modules.core.checks import ConfigurationError
from modules.energies.image import NetworkEnergy
from modules.initializers.residual import NetworkInitializer
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)

X = torch.linspace(-1, 1, 4 * 3, dtype=torch.float64).reshape(4, 3)
C = CosineSchedule().transition(torch.tensor([1, 2, 5, 6]), torch.float64)


class Plain(nn.Module):
    """What it is called with, seen in what it gives."""

    def forward(self, x: Tensor, logsnr: Tensor, label: Tensor) -> Tensor:
        return x.square() * logsnr[:, None] + 10 * label[:, None]


def test_the_initializer_adds_x_t_and_reads_its_level() -> None:
    initializer = NetworkInitializer(Plain(), (3,), 2)
    label = torch.tensor([0, 1, -1, 0])
    wanted = X + X.square() * C.logsnr_t[:, None] + 10 * label[:, None]
    torch.testing.assert_close(initializer.mean(X, C, label), wanted)


def test_the_same_network_is_an_energy_of_the_cleaner_level() -> None:
    """In its plain form E = |x|²/2 + <x, h>."""
    energy = NetworkEnergy(Plain(), (3,), 2, data_var=None)
    label = torch.tensor([0, 1, -1, 0])
    x = X / C.y_scale[:, None]
    h = x.square() * C.logsnr_s[:, None] + 10 * label[:, None]
    torch.testing.assert_close(energy(X, C, label), (x.square() / 2 + x * h).sum(1))


@pytest.mark.parametrize("role", ["energy", "initializer"])
def test_no_labels_are_labels_of_none(role: str) -> None:
    network = NetworkEnergy(Plain(), (3,), 2) if role == "energy" else NetworkInitializer(Plain(), (3,), 2)
    assert torch.equal(network(X, C), network(X, C, torch.full((4,), -1)))


class Whole(nn.Module):
    """A number a sample, which would be broadcast."""

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


@pytest.mark.parametrize("role", [NetworkEnergy, NetworkInitializer])
def test_another_shape_is_told_and_never_broadcast(role: type) -> None:
    with pytest.raises(ConfigurationError, match=r"^Whole\.forward gave \(4, 1\), must give \(4, 3\)"):
        role(Whole(), (3,))(X, C)
