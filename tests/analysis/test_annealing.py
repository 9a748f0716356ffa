"""Annealed importance sampling finds normalizing constants that are known (spec §11)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.analysis.annealing import AnnealingPath, LogMean, anneal, by_level, log_mean, sandwich, tune
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.analytic import MixtureEnergy
from modules.energies.base import Energy
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.schedules.base import Schedule
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.linear import LinearSchedule
from tests.gaussian_oracle import ENERGY, data

torch.set_num_threads(1)

REPETITIONS, CHAINS = 200, 32
MIXTURE = MixtureEnergy([[0.7, 0.2], [-0.5, 0.9]], [[0.05, 0.3], [0.2, 0.04]], [0.3, 0.7])


class Raised(Energy):
    """An energy with a constant added, so that log Z falls by constant/energy_scale."""

    def __init__(self, energy: Energy, constant: float) -> None:
        super().__init__(energy.shape)
        self.energy, self.constant = energy, constant

    def forward(self, y, transition, label=None):
        return self.energy(y, transition, label) + self.constant * transition.energy_scale


def _noise(count: int, stream: str = "annealing") -> Noise:
    return Noise(0, torch.arange(count), stream=stream, dtype=torch.float64)


def _mixture_data(noise: Noise) -> Tensor:
    which = (noise.uniform("which") < 0.7).long()
    means, stds = MIXTURE.means[[0, 1]], MIXTURE.variances[[0, 1]].sqrt()
    return means[which] + stds[which] * noise.normal("data", (2,))


def _weights(energy: Energy, schedule: Schedule, draws: Tensor | None, bridges: int = 4) -> Tensor:
    """Log weights of all chains, forward from N(0, I), or in reverse from draws of x_0."""
    count = REPETITIONS * CHAINS
    path, sampler = AnnealingPath(energy, schedule, bridges), AdjustedLangevin(2)
    pilot = _noise(64, "pilot")
    steps = tune(path, sampler, pilot.normal("start", (2,)), pilot)
    x = _noise(count).normal("start", (2,)) if draws is None else draws
    *_, last = anneal(path, sampler, steps, x, _noise(count), draws is not None)
    assert last.stages == path.num_stages and last.log_weight.shape == (count,)
    return last.log_weight


def _clean(x: Tensor, schedule: Schedule) -> Tensor:
    """x_0 of data."""
    c = schedule.transition(torch.ones(len(x), dtype=torch.int64), torch.float64)
    return c.alpha_s[:, None] * x + c.sigma_s[:, None] * _noise(len(x), "level 0").normal("eps", (2,))


def _covered(log_weight: Tensor, truth: float, sign: int) -> float:
    """The share of 95% intervals that hold the truth."""
    found = [log_mean(part, sign) for part in log_weight.reshape(REPETITIONS, CHAINS)]
    return sum(abs(one.value - truth) < 1.96 * one.error for one in found) / REPETITIONS


CASES = {
    "gaussian": (ENERGY, data),
    "mixture": (MIXTURE, _mixture_data),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_log_z_and_the_coverage_of_its_intervals(name, direction):
    """1.3 is added to U, so log Z = -1.3: within 0.01 nats by 6,400 chains, coverage 90..99% by 32 each."""
    energy, draw = CASES[name]
    schedule, raised = ContinuousSchedule(12), Raised(energy, 1.3)
    draws = _clean(draw(_noise(REPETITIONS * CHAINS, "data")), schedule) if direction == "reverse" else None
    log_weight = _weights(raised, schedule, draws, bridges=12)
    sign = -1 if direction == "reverse" else 1
    found = log_mean(log_weight, sign)
    assert abs(found.value + 1.3) < 0.01, found
    assert found.error < 0.01 and 0.2 < found.effective / found.num < 1
    assert 0.90 <= _covered(log_weight, -1.3, sign) <= 0.99


def test_the_published_ladder_and_its_coordinate():
    """y = √α_1 x_0 of the cosine ladder: ∫ e^{-U} dx_0 = y_scale^{-D}, which isn't 1."""
    schedule = CosineSchedule()
    scale = float(schedule.transition(torch.ones(1, dtype=torch.int64), torch.float64).y_scale)
    found = log_mean(_weights(ENERGY, schedule, None, bridges=6))
    assert scale < 0.99
    assert abs(found.value + 2 * math.log(scale)) < 3 * found.error < 0.1


def test_too_quick_annealing_is_low_forward_and_high_in_reverse():
    """With one bridge a level and few chains, on average: the two sandwich log Z = 0."""
    schedule = ContinuousSchedule(3)
    draws = _clean(data(_noise(REPETITIONS * CHAINS, "data")), schedule)
    forward, reverse = (_weights(ENERGY, schedule, x, bridges=1) for x in (None, draws))
    few = [
        torch.tensor([log_mean(part, sign).value for part in weights.reshape(-1, 8)]).mean()
        for weights, sign in ((forward, 1), (reverse, -1))
    ]
    assert few[0] < -0.02 and few[1] > 0.02


def test_it_goes_on_where_it_was_left():
    path, sampler, noise = AnnealingPath(ENERGY, ContinuousSchedule(4), 2), AdjustedLangevin(2), _noise(16)
    x = noise.normal("start", (2,))
    steps = tune(path, sampler, x, noise)
    assert steps.shape == (8,) and (steps > 0).all() and steps[-1] < steps[0]
    for reverse in (False, True):
        whole = list(anneal(path, sampler, steps, x, noise, reverse))
        assert [state.stages for state in whole] == [2, 4, 6, 8]
        rest = list(anneal(path, sampler, steps, torch.zeros_like(x), noise, reverse, whole[1]))
        assert [state.stages for state in rest] == [6, 8]
        assert torch.equal(rest[-1].log_weight, whole[-1].log_weight)
        assert list(anneal(path, sampler, steps, x, noise, reverse, whole[-1])) == []


def test_estimates_and_their_errors():
    """Equal weights have no error; of weights 1 and 3, twice each, mean 2, spread 1.155, n = 4."""
    equal = log_mean(torch.full((10,), 2.5))
    assert (equal.value, equal.error, equal.effective) == pytest.approx((2.5, 0.0, 10.0))
    uneven = log_mean(torch.tensor([1.0, 3.0, 1.0, 3.0]).log() + 700, -1)
    assert uneven.value == pytest.approx(-(700 + math.log(2)), rel=1e-6)
    assert uneven.error == pytest.approx(1.1547 / 2 / 2, rel=1e-4)
    assert uneven.effective == pytest.approx(64 / 20, rel=1e-4)
    value, error = sandwich(LogMean(1.0, 0.3, 5, 10), LogMean(2.0, 0.4, 5, 10))
    assert (value, error) == pytest.approx((1.5, math.sqrt(0.0625 + 0.25)))


def test_every_level_s_constant_on_the_way():
    """Raised by 1.3 at every level: log Z is -1.3 at each, by both directions, within 3.5 errors."""
    schedule, raised = ContinuousSchedule(6), Raised(ENERGY, 1.3)
    path, sampler, num = AnnealingPath(raised, schedule, 8), AdjustedLangevin(2), 2000
    pilot, noise = _noise(64, "pilot"), _noise(num)
    steps, traces = tune(path, sampler, pilot.normal("start", (2,)), pilot), []
    for x in (None, _clean(data(_noise(num, "data")), schedule)):
        start = noise.normal("start", (2,)) if x is None else x
        *_, last = anneal(path, sampler, steps, start, noise, x is not None)
        assert last.trace.shape == (6, num) and torch.equal(last.trace[-1], last.log_weight)
        traces.append(last.trace)
    levels = by_level(*traces)
    assert len(levels) == 6
    for one in (one for both in levels for one in both):
        assert abs(one.value + 1.3) < 3.5 * one.error < 0.1


def test_faults_are_named():
    with pytest.raises(ConfigurationError, match="level 0 of a LinearSchedule is clean"):
        AnnealingPath(ENERGY, LinearSchedule(10), 4)
    with pytest.raises(ConfigurationError, match="bridges must be at least 1"):
        AnnealingPath(ENERGY, ContinuousSchedule(4), 0)
    with pytest.raises(ConfigurationError, match="raise --chains"):
        log_mean(torch.zeros(1))
