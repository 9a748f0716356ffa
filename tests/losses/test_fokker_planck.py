"""F is the true slope in the level of every density that the forward process makes (spec §13)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.analytic import MixtureEnergy
from modules.energies.recovery import energy_and_grad
from modules.losses.fokker_planck import FokkerPlanck
from modules.schedules.levels import level
from tests.gaussian_oracle import ENERGY

torch.set_num_threads(1)


def _true_slope(energy, x: Tensor, logsnr: float) -> Tensor:
    """∂/∂λ of -log p_λ(x) = E/σ̄ of an analytic energy, by autograd."""
    levels = torch.full((len(x),), logsnr, dtype=torch.float64, requires_grad=True)
    density = energy(x, level(levels)) / torch.sigmoid(-levels).sqrt()
    return torch.autograd.grad(density.sum(), levels)[0]


def _target(energy, x: Tensor, logsnr: float, probe: float, draws: int = 1) -> Tensor:
    """F (draws, b)."""
    levels = torch.full((len(x),), logsnr, dtype=torch.float64)
    loss, found = FokkerPlanck(probe=probe), []
    for draw in range(draws):
        noise = Noise(draw, torch.arange(len(x)), dtype=torch.float64)
        found.append(loss.target(energy.at(level(levels)), x, levels, noise))
    return torch.stack(found)


@pytest.mark.parametrize("logsnr", [6.0, 0.8, -1.3, -4.0])
def test_of_a_gaussian_it_is_the_true_slope(logsnr: float) -> None:
    """Of independent elements every probe is exact; unequal means and variances; to 1e-8."""
    x = torch.tensor([[1.4, -0.9], [-0.2, 0.1], [0.6, 2.0]], dtype=torch.float64)
    wanted = _true_slope(ENERGY, x, logsnr)
    torch.testing.assert_close(_target(ENERGY, x, logsnr, 0.3)[0], wanted, rtol=1e-8, atol=1e-8)
    assert wanted.abs().min() > 1e-3


@pytest.mark.parametrize("logsnr", [3.0, 0.8, -1.3])
def test_of_a_mixture_its_mean_over_probes_is_the_true_slope(logsnr: float) -> None:
    """Elements that depend on each other, away from data too: within 4 standard errors of 400 probes."""
    means = torch.tensor([[1.0, 0.5], [-0.8, -0.3], [0.2, -1.1]])
    energy = MixtureEnergy(means, torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.3, 0.5, 0.2])).double()
    x = torch.tensor([[0.1, 0.2], [-0.7, 0.4], [2.5, -1.5]], dtype=torch.float64)
    found, wanted = _target(energy, x, logsnr, 1e-4, 400), _true_slope(energy, x, logsnr)
    error = found.std(0) / math.sqrt(400)
    assert (error > 1e-4).any()  # probes differ here
    assert ((found.mean(0) - wanted).abs() <= 4 * error + 1e-4).all()
    # the constants of the densities play no part, and neither does a wider probe much
    torch.testing.assert_close(_target(energy, x, logsnr, 0.1, 400).mean(0), wanted, rtol=0.05, atol=0.2)


def test_a_slope_that_is_known_is_believed() -> None:
    x, levels = torch.randn(3, 2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    noise, loss = Noise(0, torch.arange(3), dtype=torch.float64), FokkerPlanck()
    at = ENERGY.at(level(levels))
    plain = loss.target(at, x, levels, noise)
    slope = energy_and_grad(at, x)[1]
    torch.testing.assert_close(loss.target(at, x, levels, noise, slope), plain, rtol=1e-12, atol=0)
    assert not torch.allclose(loss.target(at, x, levels, noise, slope + 1), plain)


def test_the_loss_by_hand_and_its_phase() -> None:
    slopes, targets = torch.tensor([3.0, -1.0]).double(), torch.tensor([1.0, -1.0]).double()
    loss = FokkerPlanck(limit=2.0)(slopes, targets, 8)
    assert loss.tolist() == pytest.approx([8 / 8 * (math.sqrt(2) - 1), 0.0])
    # small differences count squared, at any limit; large ones evenly, 2δ a nat
    near, far = (FokkerPlanck(limit=2.0)(torch.tensor([r]).double(), targets[1:] + 1, 1) for r in (1e-5, 1e6))
    assert near.item() == pytest.approx(1e-10, rel=1e-9) and far.item() == pytest.approx(4e6, rel=1e-5)
    phase = FokkerPlanck(weight=0.3, first_step=2, last_step=9, every=3).phase
    assert [phase.at(step) for step in range(10)] == [0, 0, 0.3, 0, 0, 0.3, 0, 0, 0.3, 0]
    assert [FokkerPlanck().phase.at(step) for step in (0, 1, 10**9)] == [1, 1, 1]


def test_what_it_is_made_with() -> None:
    given = {"weight": 0.3, "first_step": 2, "last_step": 5, "every": 2, "limit": 4.0, "probe": 0.1}
    assert arguments_of(FokkerPlanck(**given), "") == given
    assert FokkerPlanck().probe == 0.3 and FokkerPlanck().limit == 3.0
    for wrong in ({"probe": 0}, {"limit": 0}, {"every": 0}, {"weight": -1}):
        with pytest.raises(ConfigurationError, match=f"^FokkerPlanck.{next(iter(wrong))}"):
            FokkerPlanck(**wrong)
