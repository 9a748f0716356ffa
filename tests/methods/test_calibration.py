"""Setting a normalized energy right on the data: c at every level, then C (spec §13)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, distributions

from modules.core.noise import Noise
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.energies.normalized import NormalizedEnergy
from modules.methods.calibration import calibrate, level_shift
from modules.schedules.continuous import ContinuousSchedule

torch.set_num_threads(1)

COUNT = 8000
MEANS = torch.tensor([[1.2, -0.4], [-0.5, 0.9]], dtype=torch.float64)  # of label 0, of label 1
VARIANCE = 0.05


def _density(logsnr: Tensor, label: Tensor) -> distributions.MixtureSameFamily:
    alpha_bar = torch.sigmoid(logsnr)[:, None, None]
    spread = (alpha_bar * VARIANCE + torch.sigmoid(-logsnr)[:, None, None]).sqrt().expand(-1, 2, 2)
    parts = distributions.Independent(distributions.Normal(alpha_bar.sqrt() * MEANS, spread), 1)
    shares = torch.tensor([[0.5, 0.5], [1, 0], [0, 1]], dtype=torch.float64)[label + 1]
    return distributions.MixtureSameFamily(distributions.Categorical(shares), parts)


class Drifting(Energy):
    """The true density's energy of each level, but for what differs from level to level: `drift` nats."""

    def __init__(self, drift: float) -> None:
        super().__init__((2,), 2)
        self.drift = drift

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        label = torch.full_like(transition.t, -1) if label is None else label
        logsnr, sigma = transition.logsnr_s, transition.sigma_s
        wrong = self.drift * torch.sin(0.7 * logsnr) * (1 + 0.5 * label)
        return sigma * (wrong - _density(logsnr, label).log_prob(y) - 2 * sigma.log())


def _energy(drift: float) -> NormalizedEnergy:
    torch.manual_seed(0)
    made = NormalizedEnergy(Drifting(drift), width=64).double()
    with torch.no_grad():
        made.head.weight.normal_(0, 0.1)  # a c that is somewhere else
        made.shift.normal_()
        made.constant.normal_()
    return made


def _data() -> tuple[Tensor, Tensor, Noise]:
    noise = Noise(1, torch.arange(COUNT), dtype=torch.float64)
    label = torch.arange(COUNT) % 2
    x = MEANS[label] + VARIANCE**0.5 * noise.normal("x", (2,))
    return x, label, Noise(2, torch.arange(COUNT), dtype=torch.float64)


@pytest.mark.parametrize("drift", [0.0, 2.0])
def test_every_level_becomes_the_density(drift: float) -> None:
    """Of no label and of both classes, at levels from end to end; before it, levels are nats apart."""
    energy, (x, label, noise), schedule = _energy(drift), _data(), ContinuousSchedule(num_levels=4)
    generator = torch.get_rng_state()
    calibrate(energy, x, label, schedule, noise)
    assert torch.equal(torch.get_rng_state(), generator)
    points = x[:60]
    for given in (None, torch.zeros(60, dtype=torch.int64), torch.ones(60, dtype=torch.int64)):
        for logsnr in torch.linspace(schedule.logsnr_min, schedule.logsnr_max, 7, dtype=torch.float64):
            at = logsnr.expand(60)
            wanted = -_density(at, torch.full((60,), -1) if given is None else given).log_prob(points)
            with torch.no_grad():
                off = energy.potential(points, at, given) - wanted
            assert off.abs().max() < 0.2, (given, logsnr, off.mean())


def test_training_does_not_see_it() -> None:
    """∂U/∂λ as the level loss has it is what it was; the potential isn't."""
    energy, (x, label, noise) = _energy(2.0), _data()
    at = torch.full((5,), 3.0, dtype=torch.float64)
    before = energy.level_slope(energy.slopes(x[:5], at, label[:5]), at, label[:5])
    potential = energy.potential(x[:5], at, label[:5])
    calibrate(energy, x, label, ContinuousSchedule(num_levels=4), noise)
    assert torch.equal(energy.level_slope(energy.slopes(x[:5], at, label[:5]), at, label[:5]), before)
    assert (energy.potential(x[:5], at, label[:5]) - potential).abs().min() > 0.1


def test_what_was_there_before_does_not_count() -> None:
    energy, (x, label, noise), schedule = _energy(2.0), _data(), ContinuousSchedule(num_levels=4)
    calibrate(energy, x, label, schedule, noise)
    shift, constant = energy.shift.clone(), energy.constant.clone()
    energy.shift.add_(1.0)
    calibrate(energy, x, label, schedule, noise)
    assert torch.equal(energy.shift, shift) and torch.equal(energy.constant, constant)


def test_multiples_of_the_target_take_its_noise_out() -> None:
    """The spread of the fit over draws is well below that of the plain mean of τ - ∂U/∂λ, integrated."""
    energy, (x, label, _) = _energy(0.0), _data()
    ends = torch.tensor([-5.0, 9.0], dtype=torch.float64)
    rises = []
    for seed in range(8):
        noise = Noise(seed, torch.arange(300), dtype=torch.float64)
        weights = level_shift(energy, x[:300], label[:300], -5.1, 9.8, noise)
        values = energy.level_features(ends)[0] @ weights
        rises.append(values[1] - values[0])
    # 300 samples: a range of 14 with a deviation of √2·½ or more of τ gives 0.6 nats
    assert torch.stack(rises).std() < 0.3
