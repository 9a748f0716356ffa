"""Weights of ways down and up the ladder by the own proposals give log Z that is known (spec §11)."""

from __future__ import annotations

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


@pytest.mark.parametrize("reverse", [False, True], ids=["down", "up"])
def test_log_z_and_the_coverage_of_its_intervals(reverse):
    path = AncestralPath(Networks(RAISED, OWN, SCHEDULE), 40)
    assert path.num_stages == 240
    shares = path.tune(data(PILOT), PILOT)
    assert shares.shape == (6,) and (shares >= 0).all() and (shares <= 1).all() and shares.std() > 0.05
    *_, last = walk(path, _start(reverse), _noise("walk"), reverse)
    sign = -1 if reverse else 1
    found = log_mean(last.log_weight, sign)
    assert abs(found.value - 0.7) < 0.01 and found.error < 0.008, found
    parts = [log_mean(part, sign) for part in last.log_weight.reshape(REPETITIONS, CHAINS)]
    covered = sum(abs(one.value - 0.7) < 1.96 * one.error for one in parts) / REPETITIONS
    assert 0.90 <= covered <= 0.99


def test_proposals_that_miss_data_show_in_the_gap():
    """x̂ clamped to [-0.8, 0.8] never gets to 4 of 10 points: low going down, and far from going up."""
    path = AncestralPath(Networks(RAISED, OwnProposal((2,), limit=0.8), SCHEDULE), 10)
    path.tune(data(PILOT), PILOT)
    found = []
    for reverse, sign in ((False, 1), (True, -1)):
        *_, last = walk(path, _start(reverse), _noise("walk"), reverse)
        found.append(log_mean(last.log_weight, sign))
    down, up = found
    assert down.value < 0.6 and abs(up.value - 0.7) < 0.1
    assert up.value - down.value > 4 * (down.error**2 + up.error**2) ** 0.5


def test_it_goes_on_where_it_was_left():
    path, noise = AncestralPath(Networks(ENERGY, OWN, SCHEDULE), 2), _noise("walk").take(slice(8))
    for reverse in (False, True):
        x = _start(reverse)[:8]
        whole = list(walk(path, x, noise, reverse))
        assert [state.stages for state in whole] == [2, 4, 6, 8, 10, 12]
        rest = list(walk(path, torch.zeros_like(x), noise, reverse, whole[3]))
        assert [state.stages for state in rest] == [10, 12]
        assert torch.equal(rest[-1].log_weight, whole[-1].log_weight)


def test_faults_are_named():
    with pytest.raises(ConfigurationError, match="CopyInitializer doesn't propose"):
        AncestralPath(Networks(ENERGY, CopyInitializer((2,)), SCHEDULE), 2)
    with pytest.raises(ConfigurationError, match="6 levels of a CosineSchedule"):
        AncestralPath(Networks(ENERGY, OWN, CosineSchedule()), 2)
