"""A proposal of a user's own, here a replay of earlier chains, needs no other forward."""

from __future__ import annotations

import pytest
import torch

from modules.core.noise import Noise
from modules.core.types import Batch
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import OwnProposal
from modules.losses.contrast import RecoveryContrast
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.training.kept import Kept

torch.set_num_threads(1)


class Replay:
    """Chains begin where the last ones of the same row ended, the first time at the proposal."""

    def remember(self, shape):
        self.register_buffer("ends", torch.empty(0, *shape))
        return self

    def start_chains(self, proposal, x_t, transition, label, noise):
        usual = super().start_chains(proposal, x_t, transition, label, noise)
        return self.ends if len(self.ends) else usual

    def end_chains(self, chain, x_t, transition, label):
        self.ends = chain.y


class ReplayedRecovery(Replay, RecoveryLikelihood):
    pass


class ReplayedEnergy(Replay, OneEnergy):
    pass


class Starts(Langevin):
    """Langevin that notes where it began."""

    def sample(self, potential, y, step_size, noise, free=None):
        self.seen = [*getattr(self, "seen", []), y]
        return super().sample(potential, y, step_size, noise, free)


def _recovery():
    networks = MLPEnergy((2,), width=8, depth=1), MLPInitializer((2,), width=8, depth=1)
    return ReplayedRecovery(*networks, CosineSchedule(), Starts(2), shared_noise=True)


def _one_energy():
    energy = MLPEnergy((2,), width=8, depth=1)
    parts = OwnProposal((2,)), ContinuousSchedule(), Starts(2)
    return ReplayedEnergy(energy, *parts, recovery=RecoveryContrast())


@pytest.mark.parametrize("make", [_recovery, _one_energy])
def test_chains_go_on_where_they_ended(make):
    torch.manual_seed(0)
    method = make().remember((2,))
    batch, saved = Batch(torch.rand(6, 2) * 2 - 1), None
    for step in range(3):
        method.begin_step(step)
        output = method(batch, Noise(0, torch.arange(6), step))
        start = method.sampler.seen[-1]
        assert not start.requires_grad
        assert saved is None or torch.equal(start, saved)
        saved = method.ends.clone()
        assert not torch.equal(saved, start)
        assert all(loss.requires_grad for loss in output.losses.values())
    kept = Kept(method, list(method.networks().values())).tensors()
    assert torch.equal(kept["ends"], saved)


@pytest.mark.parametrize("make", [_recovery, _one_energy])
def test_hooks_are_told_of_the_step(make, monkeypatch):
    """x_t of every row, its level pair, labels and the step's numbers; at the end the same and the chain."""
    torch.manual_seed(0)
    method, given, noise = make().remember((2,)), {}, Noise(0, torch.arange(6), 0)
    for name in ("start_chains", "end_chains"):
        hook = getattr(method, name)
        monkeypatch.setattr(method, name, lambda *g, n=name, h=hook: given.update({n: g}) or h(*g))
    method.begin_step(0)
    output = method(Batch(torch.rand(6, 2) * 2 - 1), noise)
    proposal, x_t, transition, label, numbers = given["start_chains"]
    assert torch.equal(proposal, method.sampler.seen[0]) and torch.equal(x_t, output.shown["noisier"])
    assert torch.equal(transition.t, output.t) and label is None
    assert torch.equal(numbers.normal("mine", (2,)), noise.normal("mine", (2,)))
    chain, *told = given["end_chains"]
    assert torch.equal(chain.y, method.ends) and torch.equal(told[0], x_t) and told[2] is None
    assert torch.equal(told[1].t, output.t)


def test_without_a_hook_chains_begin_at_the_proposal():
    torch.manual_seed(0)
    plain = RecoveryLikelihood(
        MLPEnergy((2,), width=8, depth=1),
        MLPInitializer((2,), width=8, depth=1),
        CosineSchedule(),
        Starts(2),
        shared_noise=True,
    )
    plain.begin_step(0)
    batch, noise = Batch(torch.rand(6, 2) * 2 - 1), Noise(0, torch.arange(6), 0)
    output = plain(batch, noise)
    c = plain.schedule.transition(output.t)
    scale = c.y_scale[:, None]
    torch.testing.assert_close(output.shown["proposals"] * scale, plain.sampler.seen[0])
