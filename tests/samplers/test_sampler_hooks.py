"""A sampler of a user's own is told the level, is watched, and is made anew with another number of steps."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from modules.analysis.chains import along_ladder
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Batch
from modules.energies.mlp import MLPEnergy
from modules.initializers.copy import CopyInitializer
from modules.initializers.own import OwnProposal
from modules.losses.contrast import RecoveryContrast
from modules.methods.networks import Networks
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.samplers.base import Sampler
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)


class Told(Sampler):
    """Langevin steps, none at the last level; what it was told is kept."""

    def __init__(self, num_steps: int = 2) -> None:
        self.num_steps = num_steps
        self.told: list[torch.Tensor] = []
        self.last: torch.Tensor | None = None

    def at(self, transition):
        self.told.append(transition.t)
        here = copy.copy(self)
        here.last = transition.t == 1
        return here

    def sample(self, potential, y, step_size, noise, free=None):
        assert self.last is not None
        chain = Langevin(self.num_steps).sample(potential, y, step_size * ~self.last, noise, free)
        return replace(chain, figures={"steps_taken": torch.where(self.last, 0.0, self.num_steps)})


class Tabled(Sampler, nn.Module):
    """Its constructor prepares a factor a step; a buffer counts its chains."""

    def __init__(self, num_steps: int = 4) -> None:
        nn.Module.__init__(self)
        self.num_steps, self.factors = num_steps, torch.linspace(1, 0.1, num_steps)
        self.register_buffer("chains", torch.zeros(()))

    def sample(self, potential, y, step_size, noise, free=None):
        self.chains += 1
        start = y
        for factor in self.factors:
            y = Langevin(1).sample(potential, y, factor * step_size, noise, free).y
        return replace(Langevin(0).sample(potential, y, step_size, noise), displacement=_rms(y - start))


class Still(Sampler):
    """No steps at all."""

    def sample(self, potential, y, step_size, noise, free=None):
        return Langevin(0).sample(potential, y, step_size, noise, free)


class Grown(Tabled):
    """A state whose size is that of the number of steps."""

    def __init__(self, num_steps: int = 4) -> None:
        super().__init__(num_steps)
        self.register_buffer("by_step", torch.zeros(num_steps))


def _rms(x: torch.Tensor) -> torch.Tensor:
    return x.square().flatten(1).mean(1).sqrt()


def _networks() -> tuple[MLPEnergy, CopyInitializer]:
    torch.manual_seed(0)
    energy = MLPEnergy((3,), width=8, depth=1)
    nn.init.normal_(energy.head.weight)
    return energy, CopyInitializer((3,))


def _noise(num: int = 8) -> Noise:
    return Noise(1, torch.arange(num))


METHODS = {
    "recovery": lambda sampler: RecoveryLikelihood(*_networks(), CosineSchedule(), sampler, True),
    "one energy": lambda sampler: OneEnergy(
        _networks()[0], OwnProposal((3,)), ContinuousSchedule(), sampler, recovery=RecoveryContrast()
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_training_step_tells_its_levels_and_watches_the_figures(name: str) -> None:
    sampler = Told()
    method = METHODS[name](sampler)
    method.begin_step(0)
    output = method(Batch(torch.randn(64, 3, generator=torch.Generator().manual_seed(0))), _noise(64))
    (told,) = sampler.told
    assert torch.equal(told, output.t) and (told == 1).any() and (told > 1).any()
    assert torch.equal(output.watch["steps_taken"], torch.where(output.t == 1, 0.0, 2.0))
    moved = output.watch["displacement"] > 0
    assert torch.equal(moved, output.t > 1)


def test_acceptance_is_watched_of_samplers_that_refuse_alone() -> None:
    batch = Batch(torch.zeros(8, 3))
    for sampler, watched in ((AdjustedLangevin(2), True), (Langevin(2), False)):
        method = METHODS["recovery"](sampler)
        method.begin_step(0)
        assert ("acceptance" in method(batch, _noise()).watch) is watched


def test_sampling_tells_every_level_from_the_top() -> None:
    sampler, schedule = Told(), CosineSchedule()
    generation = Generation(sampler)
    levels = list(generation.walk(Networks(*_networks(), schedule), Draw.of_seed(0, 2)))
    assert [int(t[0]) for t in sampler.told] == [6, 5, 4, 3, 2, 1]
    # nothing moves at the last level, from the copy of the level before
    assert torch.equal(levels[-1], levels[-2] / schedule.transition(torch.tensor([1])).y_scale)
    label = torch.full((2,), -1)
    along_ladder(generation, Networks(*_networks(), schedule), sampler, levels[0], label, _noise(2), 2)
    assert [int(t[0]) for t in sampler.told[6:]] == [6, 5, 4, 3, 2, 1]


def test_another_number_of_steps_is_prepared_by_the_constructor_and_keeps_the_state() -> None:
    sampler = Tabled(4)
    sampler.chains += 3
    short = sampler.with_steps(2)
    assert short.num_steps == len(short.factors) == 2 and int(short.chains) == 3
    assert sampler.num_steps == len(sampler.factors) == 4
    exact = AdjustedLangevin(4, step_factor=0.5, num_warmup=7, target=0.6).with_steps(2)
    assert vars(exact) == vars(AdjustedLangevin(2, step_factor=0.5, num_warmup=7, target=0.6))


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (
            Still(),
            "Still has no number of steps to be changed: let its constructor take num_steps, or",
        ),
        (Grown(), "Grown with 2 steps can't take its state over: override with_steps"),
    ],
)
def test_a_sampler_without_steps_is_refused_in_a_line(sampler: Sampler, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sampler.with_steps(2)
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


class Counted(Sampler):
    """A state that is no module's."""

    def __init__(self, num_steps: int = 4) -> None:
        self.num_steps, self.count = num_steps, 0

    def sample(self, potential, y, step_size, noise, free=None):
        return Langevin(self.num_steps).sample(potential, y, step_size, noise, free)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_a_state_of_its_own_is_taken_over_where_it_can_be_read() -> None:
    sampler = Counted()
    sampler.count = 7
    short = sampler.with_steps(2)
    assert (short.num_steps, short.count) == (2, 7) and (sampler.num_steps, sampler.count) == (4, 7)
    with pytest.raises(ConfigurationError, match="steps must be at least 0"):
        sampler.with_steps(-1)
