"""Weights of ways down and up the ladder by the own proposals give log Z that is known (spec §11)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.analysis.ancestral import AncestralPath, walk
from modules.analysis.annealing import log_mean
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.analytic import GaussianEnergy
from modules.initializers.copy import CopyInitializer
from modules.initializers.own import OwnProposal
from modules.methods.networks import Networks
from modules.samplers.hamiltonian import Hamiltonian
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from tests.gaussian_oracle import ENERGY, data

torch.set_num_threads(1)

REPETITIONS, CHAINS = 200, 25
COUNT = REPETITIONS * CHAINS
SCHEDULE = ContinuousSchedule(6)
OWN = OwnProposal((2,), limit=None)


class Scaled(GaussianEnergy):
    """E/σ̄ lowered by 0.7, so that log Z = 0.7; ∇E is the noise as ever."""

    def forward(self, y, transition, label=None):
        return super().forward(y, transition, label) - 0.7 * transition.energy_scale


class Bent(GaussianEnergy):
    """The energy with ½ k (x_1 - √ᾱ m_1)² added to U, k from 0 at noise to 30 at clean levels."""

    def forward(self, y, transition, label=None):
        k = BEND * torch.sigmoid(transition.logsnr_s - 4)
        away = y[:, 0] - transition.alpha_s * self.mean[0]
        return super().forward(y, transition, label) + transition.energy_scale * 0.5 * k * away**2


BEND = 30.0
_first = SCHEDULE.transition(torch.ones(1, dtype=torch.int64), torch.float64)
_variance = float(_first.alpha_s**2 * ENERGY.variance[0] + _first.sigma_s**2)
BENT = -0.5 * math.log1p(_variance * BEND / (1 + math.exp(4 - float(_first.logsnr_s))))
PILOT = Noise(0, torch.arange(2_000), stream="pilot", dtype=torch.float64)
RAISED = Scaled((2,), ENERGY.mean, ENERGY.variance)


def _noise(name: str) -> Noise:
    return Noise(0, torch.arange(COUNT), stream=name, dtype=torch.float64)


def _start(reverse: bool) -> Tensor:
    """x_T, or x_0 of the data."""
    noise = _noise("start").normal("x", (2,))
    if not reverse:
        return noise
    c = SCHEDULE.transition(torch.ones(COUNT, dtype=torch.int64), torch.float64)
    return c.alpha_s[:, None] * data(_noise("data")) + c.sigma_s[:, None] * noise


@pytest.mark.parametrize("moving", [False, True], ids=["alone", "with moves"])
@pytest.mark.parametrize("reverse", [False, True], ids=["down", "up"])
def test_log_z_and_the_coverage_of_its_intervals(reverse, moving):
    path = AncestralPath(Networks(RAISED, OWN, SCHEDULE), 12 if moving else 28)
    assert path.num_stages == (72 if moving else 168)
    moves = Hamiltonian(1, 2) if moving else None
    path.tune(data(PILOT), PILOT, moves)
    shares = path.shares
    assert (
        shares.shape == (path.num_stages,)
        and (shares >= 0).all()
        and (shares <= 1).all()
        and shares.std() > 0.05
    )
    *_, last = walk(path, moves, _start(reverse), _noise("walk"), reverse)
    sign = -1 if reverse else 1
    found = log_mean(last.log_weight, sign)
    assert abs(found.value - 0.7) < 0.007 and found.error < 0.004, found
    parts = [log_mean(part, sign) for part in last.log_weight.reshape(REPETITIONS, CHAINS)]
    covered = sum(abs(one.value - 0.7) < 1.96 * one.error for one in parts) / REPETITIONS
    assert 0.90 <= covered <= 0.99


def test_proposals_that_miss_data_show_in_the_gap():
    """x̂ clamped to [-0.8, 0.8] never gets to 4 of 10 points: low going down, and far from going up."""
    path = AncestralPath(Networks(RAISED, OwnProposal((2,), limit=0.8), SCHEDULE), 20)
    path.tune(data(PILOT), PILOT)
    found = []
    for reverse, sign in ((False, 1), (True, -1)):
        *_, last = walk(path, None, _start(reverse), _noise("walk"), reverse)
        found.append(log_mean(last.log_weight, sign))
    down, up = found
    assert down.value < 0.6 and abs(up.value - 0.7) < 0.1
    assert up.value - down.value > 4 * (down.error**2 + up.error**2) ** 0.5


def test_it_goes_on_where_it_was_left():
    path, noise = AncestralPath(Networks(ENERGY, OWN, SCHEDULE), 2), _noise("walk").take(slice(8))
    moves = Hamiltonian(1, 2)
    for reverse in (False, True):
        x = _start(reverse)[:8]
        whole = list(walk(path, moves, x, noise, reverse))
        assert [state.stages for state in whole] == [2, 4, 6, 8, 10, 12]
        rest = list(walk(path, moves, torch.zeros_like(x), noise, reverse, whole[3]))
        assert [state.stages for state in rest] == [10, 12]
        assert torch.equal(rest[-1].log_weight, whole[-1].log_weight)
        assert torch.equal(rest[-1].trace, torch.stack([state.log_weight for state in whole]))


def test_an_energy_whose_levels_disagree_is_measured_where_moves_follow_it():
    """Something added at clean levels alone, where ∇E isn't the noise then: proposals miss, moves don't."""
    path = AncestralPath(Networks(Bent((2,), ENERGY.mean, ENERGY.variance), OWN, SCHEDULE), 20)
    spreads = []
    for moves in (None, Hamiltonian(2, 3)):
        path.tune(data(PILOT), PILOT, moves)
        *_, last = walk(path, moves, _start(False), _noise("walk"))
        found = log_mean(last.log_weight)
        assert abs(found.value - BENT) < max(0.02, 4 * found.error), found
        spreads.append(float(last.log_weight.std()))
    assert spreads[1] < 0.6 * spreads[0]


def test_levels_lie_where_weights_spread_alike():
    path = AncestralPath(Networks(ENERGY, OWN, SCHEDULE), 8)
    before = path.logsnr.clone()
    path.tune(data(PILOT), PILOT)
    assert torch.equal(path.logsnr[[0, -1]], before[[0, -1]]) and (path.logsnr.diff() < 0).all()
    *_, last = walk(path, None, _start(False), _noise("walk"))
    steps = last.trace.diff(dim=0, prepend=torch.zeros_like(last.trace[:1])).std(1)
    assert float(steps.max() / steps.min()) < 4  # of six equal parts of the way; before it was above 8


def test_faults_are_named():
    with pytest.raises(ConfigurationError, match="CopyInitializer doesn't propose"):
        AncestralPath(Networks(ENERGY, CopyInitializer((2,)), SCHEDULE), 2)
    with pytest.raises(ConfigurationError, match="6 levels of a CosineSchedule"):
        AncestralPath(Networks(ENERGY, OWN, CosineSchedule()), 2)
