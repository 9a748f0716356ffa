"""-log p at every level: its slope in the level, and its constant (spec §13)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, distributions

from modules.core.checks import ConfigurationError, DataError
from modules.core.noise import Noise
from modules.core.types import Transition
from modules.energies.analytic import GaussianEnergy
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy, log_mixture
from modules.energies.unet import UNetEnergy
from modules.schedules.levels import level

torch.set_num_threads(1)

LOGSNR = torch.tensor([7.0, 2.0, -0.5, -3.0], dtype=torch.float64)
LOGSNR_MIN = -5.1
# two classes in the plane, of which the second is twice as frequent
MEANS = torch.tensor([[1.2, -0.4], [-0.5, 0.9]], dtype=torch.float64)
VARIANCES = torch.tensor([[0.3, 0.05], [0.02, 0.6]], dtype=torch.float64)
SHIFTS = torch.tensor([4.0, -7.0, 2.5], dtype=torch.float64)  # of no label, of label 0, of label 1


def _density(logsnr: Tensor, label: Tensor) -> Tensor:
    """log p (b,) of two elements as a function of x, by torch's own distributions."""
    alpha, noise_var = torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr)
    center = alpha[:, None, None] * MEANS
    spread = (alpha[:, None, None] ** 2 * VARIANCES + noise_var[:, None, None]).sqrt()
    parts = distributions.Independent(distributions.Normal(center, spread), 1)  # (b, 2 classes)
    shares = torch.tensor([[1 / 3, 2 / 3], [1, 0], [0, 1]], dtype=torch.float64)[label + 1]
    return distributions.MixtureSameFamily(distributions.Categorical(shares), parts)


class Exact(Energy):
    """E of which E/σ̄ + D log σ̄ is the true -log p of the label's density, up to the label's SHIFTS."""

    def __init__(self) -> None:
        super().__init__((2,), 2)

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        label = torch.full_like(transition.t, -1) if label is None else label
        sigma = transition.sigma_s
        true = -_density(transition.logsnr_s, label).log_prob(y)
        return sigma * (true - 2 * sigma.log() + SHIFTS[label + 1])


def _awake(energy: Energy) -> NormalizedEnergy:
    torch.manual_seed(0)
    made = NormalizedEnergy(energy, width=16).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn_like(p))
        made.constant.normal_()
    return made


@pytest.mark.parametrize(
    "make",
    [
        lambda: UNetEnergy((1, 4, 4), 3, dim=8, dim_mults=(1, 1), num_blocks=1, groups=4),
        lambda: MLPEnergy((3,), 3, width=16, depth=1),
    ],
    ids=["U-Net", "MLP"],
)
def test_the_level_slope_is_the_potentials(make) -> None:
    """At fixed x, with c and its label awake: by autograd through `potential`."""
    energy, label = _awake(make()), torch.tensor([2, -1, 0, 1])
    x = torch.randn(4, *energy.shape, dtype=torch.float64)
    logsnr = LOGSNR.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(energy.potential(x, logsnr, label).sum(), logsnr)
    got = energy.level_slope(energy.slopes(x, LOGSNR, label), LOGSNR, label)
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)
    # c is a part of it, and learns from it
    (grad,) = torch.autograd.grad(got.square().sum(), energy.head.weight)
    assert grad.abs().max() > 1e-3


def test_the_level_slope_of_gaussian_data() -> None:
    """E/σ̄ + D log σ̄ = -log N(√ᾱm, ᾱv + σ̄²): its slope in λ, differentiated by hand.

    μ' = ½ᾱ^½σ̄² m and s' = ᾱσ̄²(v - 1), for -log p = Σ (x - μ)²/2s + ½ log s.
    """
    energy, mean, variance = NormalizedEnergy(Exact()).double(), MEANS[1], VARIANCES[1]
    x, label = torch.randn(4, 2, dtype=torch.float64), torch.ones(4, dtype=torch.int64)
    alpha_bar, noise_var = torch.sigmoid(LOGSNR)[:, None], torch.sigmoid(-LOGSNR)[:, None]
    s, s_slope = alpha_bar * variance + noise_var, alpha_bar * noise_var * (variance - 1)
    away, moved = x - alpha_bar.sqrt() * mean, 0.5 * alpha_bar.sqrt() * noise_var * mean
    wanted = (-away * moved / s - 0.5 * away**2 * s_slope / s**2 + 0.5 * s_slope / s).sum(1)
    got = energy.level_slope(energy.slopes(x, LOGSNR, label), LOGSNR, label)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


def test_chains_see_the_energy_alone() -> None:
    """Neither c nor C moves a sample."""
    inner = MLPEnergy((3,), 2, width=16, depth=1).double()
    energy, label = _awake(inner), torch.tensor([0, -1, 1, 1])
    y, transition = torch.randn(4, 3, dtype=torch.float64), level(LOGSNR)
    assert torch.equal(energy(y, transition, label), inner(y, transition, label))
    assert torch.equal(energy.at(transition, label)(y), inner.at(transition, label)(y))


def _data(count: int) -> tuple[Tensor, Tensor]:
    noise = Noise(1, torch.arange(count), dtype=torch.float64)
    label = (noise.uniform("label") < 2 / 3).long()
    return MEANS[label] + VARIANCES[label].sqrt() * noise.normal("x", (2,)), label


def _noise(count: int) -> Noise:
    return Noise(2, torch.arange(count), dtype=torch.float64)


def test_calibration_finds_each_labels_constant() -> None:
    """1500 points of a mixture: C of no label and of both classes, within 0.02 nats."""
    x, label = _data(1500)
    energy = NormalizedEnergy(Exact()).double()
    generator = torch.get_rng_state()
    energy.calibrate(x, label, LOGSNR_MIN, _noise(1500))
    assert torch.equal(torch.get_rng_state(), generator)
    assert (energy.constant - SHIFTS).abs().max() < 0.02
    # so that U is -log p at every level and of every label
    for given in (None, label[:50]):
        for logsnr in (9.0, 0.5, -4.0):
            levels = torch.full((50,), logsnr, dtype=torch.float64)
            noisy = torch.sigmoid(levels[:, None]).sqrt() * x[:50]
            u = energy.potential(noisy, levels, given)
            labels = torch.full((50,), -1) if given is None else given
            wanted = -_density(levels, labels).log_prob(noisy)
            torch.testing.assert_close(u, wanted, rtol=0, atol=0.02)


def test_calibration_counts_c_and_forgets_what_was() -> None:
    """c adds to U at every level; C takes away what it adds at λ_min, whatever C was before."""
    x, label = _data(500)
    plain, other = NormalizedEnergy(Exact()).double(), _awake(Exact())
    levels = torch.full((3,), LOGSNR_MIN, dtype=torch.float64)
    here, there = torch.zeros(3, 2, dtype=torch.float64), torch.tensor([-1, 0, 1])
    added = [e.potential(here, levels, there) + e.constant for e in (plain, other)]
    for energy in (plain, other):
        energy.calibrate(x, label, LOGSNR_MIN, _noise(500))
    torch.testing.assert_close(other.constant - plain.constant, (added[1] - added[0]).detach())
    assert (other.constant - plain.constant).abs().min() > 0.01
    again = other.constant.clone()
    other.calibrate(x, label, LOGSNR_MIN, _noise(500))
    torch.testing.assert_close(other.constant, again, rtol=0, atol=1e-12)


def test_a_class_without_examples_keeps_no_constant() -> None:
    x, label = _data(300)
    energy = NormalizedEnergy(Exact()).double()
    energy.calibrate(x[label == 0], label[label == 0], LOGSNR_MIN, _noise(int((label == 0).sum())))
    assert energy.constant[2] == 0 and energy.constant[1] != 0
    with pytest.raises(DataError, match="needs examples, got none"):
        energy.calibrate(x[:0], label[:0], LOGSNR_MIN, _noise(0))


def test_a_fresh_u_net_is_normalized_for_gaussian_data() -> None:
    """h = 0 and data N(0, v): U = -log N(0, ᾱv + σ̄²) at every level, in nats (0.05 off at most)."""
    torch.manual_seed(0)
    inner = UNetEnergy((1, 4, 4), 0, data_var=0.3, dim=8, dim_mults=(1,), num_blocks=1, groups=4)
    energy = NormalizedEnergy(inner).double()
    x = 0.3**0.5 * Noise(1, torch.arange(500), dtype=torch.float64).normal("x", (1, 4, 4))
    energy.calibrate(x, torch.full((500,), -1), LOGSNR_MIN, _noise(500))
    levels = torch.linspace(LOGSNR_MIN, 9.8, 100, dtype=torch.float64)
    points = 1.5 * Noise(3, torch.arange(100), dtype=torch.float64).normal("x", (1, 4, 4))
    spread = (0.3 * levels.sigmoid() + (-levels).sigmoid()).sqrt()
    wanted = -distributions.Normal(0.0, spread[:, None]).log_prob(points.flatten(1)).sum(1)
    torch.testing.assert_close(energy.potential(points, levels), wanted, rtol=0, atol=0.05)


def test_the_constants_are_kept_with_the_weights() -> None:
    energy, other = _awake(GaussianEnergy((2,))), NormalizedEnergy(GaussianEnergy((2,)), width=16).double()
    other.load_state_dict(energy.state_dict())
    assert torch.equal(other.constant, energy.constant) and energy.constant.abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_mixture_against_torchs_mixture(dtype: torch.dtype) -> None:
    """Far points too, where every density is 0 in float32."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 1, 2, 2, generator=generator, dtype=torch.float64)
    x = torch.randn(7, 1, 2, 2, generator=generator, dtype=torch.float64) * torch.logspace(-1, 2, 7)[
        :, None, None, None
    ].to(torch.float64)
    parts = distributions.Independent(distributions.Normal(centres.flatten(1), 0.7), 1)
    mixture = distributions.MixtureSameFamily(distributions.Categorical(torch.ones(5).double()), parts)
    wanted = mixture.log_prob(x.flatten(1))
    got = log_mixture(x.to(dtype), centres.to(dtype), 0.7)
    assert got.dtype == dtype and torch.isfinite(got).all()
    torch.testing.assert_close(
        got.double(), wanted, rtol=1e-12 if dtype == torch.float64 else 1e-5, atol=1e-9
    )


def test_something_else_than_an_energy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"NormalizedEnergy\.energy must be .*Energy"):
        NormalizedEnergy(3.0)
