"""Mixtures and exclusions of densities, of Gaussians whose densities are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.alternatives import AnyOf, ButNot
from modules.energies.analytic import GaussianEnergy, MixtureEnergy
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.recovery import RecoveryPotential
from modules.samplers.hamiltonian import Hamiltonian
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.levels import level

torch.set_num_threads(1)

MEANS = torch.tensor([[0.8, -0.2], [-0.6, 0.5]], dtype=torch.float64)
VARIANCES = torch.tensor([[0.3, 0.05], [0.1, 0.2]], dtype=torch.float64)


class Oracle(GaussianEnergy):
    """A Gaussian whose E/σ̄ is normalized, so that ℓ is 0."""

    def log_partition(self, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(logsnr), torch.zeros_like(logsnr)


class ByClass(Energy):
    """Class i is Gaussian i; no label is the first."""

    def __init__(self) -> None:
        super().__init__((2,), 2)
        self.classes = [Oracle((2,), m, v) for m, v in zip(MEANS, VARIANCES, strict=True)]

    def forward(self, y, transition, label=None):
        values = torch.stack([one(y, transition) for one in self.classes])
        return values.gather(0, label.clamp(min=0)[None])[0]

    def log_partition(self, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(logsnr), torch.zeros_like(logsnr)


def _parts() -> list[NormalizedEnergy]:
    return [NormalizedEnergy(Oracle((2,), m, v)).double() for m, v in zip(MEANS, VARIANCES, strict=True)]


def _points(count: int = 50) -> Tensor:
    return Noise(0, torch.arange(count), stream="alternatives", dtype=torch.float64).normal("x", (2,))


@pytest.mark.parametrize("t", [1, 3, 6])
def test_a_mixture_is_the_mixtures_own_level(t):
    """At every level it is the exact energy of data from 0.3 of one Gaussian and 0.7 of the other."""
    c = ContinuousSchedule(6).transition(torch.full((50,), t), torch.float64)
    found = AnyOf(_parts(), [3.0, 7.0])(_points(), c)
    truth = MixtureEnergy(MEANS, VARIANCES, [0.3, 0.7])(_points(), c)
    torch.testing.assert_close(found, truth)


def test_classes_of_one_energy_make_the_same_mixture():
    c = level(torch.full((50,), 1.5).double())
    both = NormalizedEnergy(ByClass()).double()
    found = AnyOf([both, both], [3.0, 7.0], [0, 1])
    torch.testing.assert_close(found(_points(), c), AnyOf(_parts(), [3.0, 7.0])(_points(), c))
    assert len(found.parts) == 1 and found.num_classes == 2


def test_but_not_is_bounded_by_what_it_starts_from():
    """p_a (p_a/(p_a + r p_b))^w: by hand from both densities; halved where both are equal."""
    c = level(torch.full((50,), 1.5).double())
    parts = _parts()
    u, v = (part.potential(_points(), c.logsnr_s) for part in parts)
    found = ButNot(*parts, strength=2.0, odds=0.5)(_points(), c) / c.energy_scale
    p, q = (-u).exp(), (-v).exp()
    torch.testing.assert_close((-found).exp(), p * (p / (p + 0.5 * q)) ** 2)
    assert (found >= u).all()
    same = ButNot(parts[0], parts[0])(_points(), c) / c.energy_scale
    torch.testing.assert_close(same, u + math.log(2))


def test_an_exact_chain_samples_what_is_left():
    """Of a but not b, in one coordinate, the mean against a sum over a grid."""
    count, narrow = 4_000, torch.zeros(1, dtype=torch.float64)
    a, b = (NormalizedEnergy(Oracle((1,), narrow + m, narrow + 0.3)).double() for m in (0.0, 0.5))
    energy = ButNot(a, b, strength=3.0)
    c = level(torch.full((count,), 3.0).double())
    noise = Noise(0, torch.arange(count), stream="but not", dtype=torch.float64)
    potential = RecoveryPotential(energy.at(c), c, torch.zeros(count, 1).double())
    start = noise.normal("start", (1,))
    x = Hamiltonian(40, 3, step_factor=1.5).sample(potential, start, c.step_size, noise).y
    grid = torch.linspace(-5, 5, 4001, dtype=torch.float64)[:, None]
    density = (-energy(grid, level(torch.full((4001,), 3.0).double())) / c.energy_scale[0]).softmax(0)
    mean = float((density * grid[:, 0]).sum())
    spread = float((density * (grid[:, 0] - mean) ** 2).sum())
    assert mean < -0.15  # away from b, whose side a leans to by itself not at all
    assert float(x.mean()) == pytest.approx(mean, abs=4 * (spread / count) ** 0.5)
    assert float(x.var()) == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda a, b: AnyOf([a, MLPEnergy((2,))]), "a MLPEnergy doesn't know its constant"),
        (lambda a, b: AnyOf([a, b], [1.0, 0.0]), "each must be above 0"),
        (lambda a, b: AnyOf([a, b], [1.0]), "one weight for each of 2 parts"),
        (lambda a, b: AnyOf([a, b], None, [1]), "one label for each of 2 parts"),
        (lambda a, b: AnyOf([a, b], None, [0, None]), "labels must be at most -1"),
        (lambda a, b: AnyOf([]), "at least one part"),
        (lambda a, b: ButNot(a, b, strength=0), "ButNot.strength must be above 0"),
        (lambda a, b: ButNot(a, b, odds=-1), "ButNot.odds must be above 0"),
    ],
)
def test_faults_are_named(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make(*_parts())
