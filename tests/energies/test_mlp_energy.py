"""The energy for points."""

from __future__ import annotations

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.energies.mlp import MLPEnergy
from modules.layers.spectral import SpectralLinear
from modules.schedules.cosine import CosineSchedule


def _transition(dtype: torch.dtype = torch.float64):
    return CosineSchedule(6).transition(torch.tensor([1, 3, 6]), dtype)


def test_frequencies_make_the_energy_rougher_and_keep_it_smooth() -> None:
    """Waves of period 2/2^k: the second derivative along an axis grows, and exists."""
    line = torch.zeros(3, 2, dtype=torch.float64)
    size = []
    for count in (0, 4):
        torch.manual_seed(0)
        energy = MLPEnergy((2,), width=32, num_frequencies=count).double()
        y = line.clone().requires_grad_()
        (grad,) = torch.autograd.grad(energy(y, _transition()).sum(), y, create_graph=True)
        (second,) = torch.autograd.grad(grad.sum(), y)
        chain = energy.at(_transition())
        assert torch.autograd.gradgradcheck(chain, (line.clone().requires_grad_(),))
        size.append(second.abs().mean())
    assert size[1] > 3 * size[0]


def test_spectral_norm_reaches_every_layer_but_the_head() -> None:
    energy = MLPEnergy((2,), num_classes=3, width=16, depth=2, spectral_norm=True)
    dense = {n: isinstance(m, SpectralLinear) for n, m in energy.named_modules() if hasattr(m, "in_features")}
    assert [n for n, spectral in dense.items() if not spectral] == ["head"]
    # embedding: two and the label's; stem; three a block; head
    assert len(dense) == 3 + 1 + 2 * 3 + 1


def test_images_are_flattened() -> None:
    torch.manual_seed(0)
    energy = MLPEnergy((1, 4, 4), width=16, depth=1).double()
    flat = MLPEnergy((16,), width=16, depth=1).double()
    flat.load_state_dict(energy.state_dict())
    y = torch.randn(3, 1, 4, 4, dtype=torch.float64)
    assert torch.equal(energy(y, _transition()), flat(y.flatten(1), _transition()))


def test_fits_a_known_energy() -> None:
    """Regression on a two-well energy: the error falls below 3% of the variance."""
    torch.manual_seed(0)
    energy = MLPEnergy((2,), width=32, depth=2)
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(512, 2, generator=generator) * 2 - 1
    wanted = (y[:, 0] ** 2 - 0.5) ** 2 * 4 + torch.sin(3 * y[:, 1])
    transition = CosineSchedule(6).transition(torch.full((512,), 3))
    optimizer = torch.optim.Adam(energy.parameters(), 3e-3)
    for _ in range(400):
        loss = (energy(y, transition) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.03 * wanted.var().item()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"width": 0}, "width"),
        ({"depth": -1}, "depth"),
        ({"embed_dim": 2}, "embed_dim"),
        ({"activation": "swish"}, "activation"),
        ({"num_frequencies": 1.5}, "num_frequencies"),
        ({"spectral_norm": 1}, "spectral_norm"),
        ({"shape": (2, 2)}, "shape"),
    ],
)
def test_faults_are_named(options: dict, word: str) -> None:
    with pytest.raises(ConfigurationError, match=f"MLPEnergy.{word}"):
        MLPEnergy(**({"shape": (2,)} | options))
