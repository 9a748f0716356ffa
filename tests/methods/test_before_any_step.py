"""A method's forward before any begin_step is that of step 0, not of no phase at all."""

import pytest
import torch

from modules.core.noise import Noise
from modules.core.types import Batch
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import OwnProposal
from modules.losses.cooperative import WarmStart
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule


def _cooperative(warm: WarmStart | None) -> RecoveryLikelihood:
    energy, initializer = MLPEnergy((2,), width=8, depth=1), MLPInitializer((2,), width=8, depth=1)
    return RecoveryLikelihood(energy, initializer, CosineSchedule(), Langevin(2), True, warm_start=warm)


def _one() -> OneEnergy:
    energy = NormalizedEnergy(MLPEnergy((2,), width=8, depth=1))
    later = LevelScore(first_step=1)
    parts = ContinuousSchedule(), Langevin(2), ScoreMatching(), later
    return OneEnergy(energy, OwnProposal((2,)), *parts)


@pytest.mark.parametrize(
    ("make", "learn"),
    [
        (lambda: _cooperative(None), {"energy", "initializer"}),
        (lambda: _cooperative(WarmStart(2, energy_start=1)), {"initializer"}),
        (lambda: _cooperative(WarmStart(2, energy_start=0)), {"energy", "initializer"}),
        (_one, {"energy"}),
    ],
)
def test_a_forward_before_any_step_is_of_step_0(make, learn):
    torch.manual_seed(0)
    method = make()
    batch, noise = Batch(torch.rand(4, 2), torch.full((4,), -1)), Noise(0, torch.arange(4))
    before = method(batch, noise).losses
    assert before.keys() == learn
    method.begin_step(0)
    for name, loss in method(batch, noise).losses.items():
        assert torch.equal(loss, before[name])
