"""What a step is made of: micro-batches, alarms, the averages' ramp, and a dropout for each part of it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from modules.core.types import Batch, LossOutput
from modules.data.points import Checkerboard
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from modules.training.divergence import Divergence
from modules.training.ema import EMA
from modules.training.optimizers import Optimizer
from modules.training.state import Training

torch.set_num_threads(1)

IMAGE, LABEL = Checkerboard().open().rows(torch.arange(8))


class Descent(Optimizer):
    """Plain gradient descent: a step shows its gradient."""

    def make(self, parameters):
        return torch.optim.SGD(list(parameters), self.lr)


class Dropping(MLPInitializer):
    """Drops numbers of what it reads, and remembers which."""

    def __init__(self, probability: float) -> None:
        super().__init__((2,), width=64, depth=1)
        self.dropout, self.dropped = nn.Dropout(probability), list[Tensor]()

    def mean(self, x_t, transition, label=None):
        kept = self.dropout(torch.ones(64))
        self.dropped.append(kept == 0)
        return super().mean(x_t, transition, label)


class Opposed(RecoveryLikelihood):
    """Energies of 10^5, half of them below 0."""

    def forward(self, batch: Batch, noise) -> LossOutput:
        out = super().forward(batch, noise)
        energies = 1e5 * (1 - 2 * (torch.arange(len(batch.image)) % 2)).float()
        return replace(out, watch={**out.watch, "energy_positive": energies, "energy_negative": energies})


def _training(
    ema: EMA | None = None,
    kind: type[RecoveryLikelihood] = RecoveryLikelihood,
    max_energy: float = math.inf,
    runtime: Runtime | None = None,
    dropout: float = 0.0,
) -> Training:
    torch.manual_seed(0)
    energy, initializer = MLPEnergy((2,), width=8, depth=1), Dropping(dropout)
    method = kind(energy, initializer, CosineSchedule(), Langevin(2), shared_noise=True)
    rules = {name: Descent(0.1) for name in ("energy", "initializer")}
    runtime = runtime or Runtime(trackers=())
    return Training(method, rules, ema or EMA(), runtime, 0, max_energy=max_energy)


def _step(training: Training, size: int = 8) -> Tensor:
    """All weights after a step of eight rows in micro-batches of a size."""
    rows = [range(first, first + size) for first in range(0, 8, size)]
    training.step([Batch(IMAGE[list(span)], LABEL[list(span), 0]) for span in rows], rows)
    return _flat(training.networks)


def _flat(networks: dict[str, nn.Module]) -> Tensor:
    return torch.cat([p.detach().flatten() for n in networks.values() for p in n.parameters()])


def test_micro_batches_add_up_to_the_batch() -> None:
    """A step of plain descent is the same in one part, in two and in four, whose rows keep their noise."""
    start = _flat(_training().networks)
    whole, halves, quarters = (_step(_training(), size) - start for size in (8, 4, 2))
    assert whole.abs().max() > 1e-3
    for parts in (halves, quarters):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()))


def test_energies_of_both_signs_explode_too() -> None:
    with pytest.raises(Divergence) as caught:
        _step(_training(kind=Opposed, max_energy=1e4))
    assert "the mean |energy| 1e+05 is above max_energy = 10000" in caught.value.reason
    _step(_training(kind=Opposed, max_energy=1.1e5))


def test_the_ramp_counts_from_the_first_update() -> None:
    """torch_ema's numbers: d = 2/11 at the first update, 3/12 at the second."""
    training = _training(EMA(0.9999, ramp=True))
    start = _flat(training.networks)
    first, second = _step(training), _step(training)
    after_one = 2 / 11 * start + 9 / 11 * first
    torch.testing.assert_close(_flat(training.averages), 0.25 * after_one + 0.75 * second)


class Second(Runtime):
    """As if it were the second of two processes."""

    rank = 1


def test_dropout_is_drawn_anew_for_every_part_of_a_training() -> None:
    """Micro-batches, steps, processes and the attempts after a rollback; alike where all of it is alike."""
    seen = []
    for runtime, rollbacks in ((Runtime, 0), (Second, 0), (Runtime, 1), (Runtime, 2), (Runtime, 0)):
        training = _training(runtime=runtime(trackers=()), dropout=0.5)
        training.num_rollbacks = rollbacks
        for _ in range(2):
            _step(training, 4)
        seen.append(training.method.initializer.dropped)
    *different, again = seen
    assert all(torch.equal(a, b) for a, b in zip(different[0], again, strict=True))
    masks = torch.stack([mask for masks in different for mask in masks])
    assert len(masks) == 16 == len(masks.unique(dim=0))
