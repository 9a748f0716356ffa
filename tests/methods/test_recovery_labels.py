"""Labels in the recovery likelihood's training step: dropped alike for all that sees them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from modules.core.types import Batch, Transition
from modules.energies.base import Energy
from modules.initializers.copy import CopyInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from tests.methods.recovered import batch_of, noise_of

torch.set_num_threads(1)


class LabelSeen(Energy):
    """E = the label it was given, for each sample, whatever y is."""

    def __init__(self, num_classes: int) -> None:
        super().__init__((2,), num_classes)
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        seen = torch.full_like(transition.t, -1) if label is None else label
        return self.weight * seen + 0 * y.sum(1)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_labels_are_dropped_alike_for_data_and_chains(dropout: float) -> None:
    count = 5_000
    method = RecoveryLikelihood(
        LabelSeen(4), CopyInitializer((2,)), CosineSchedule(), Langevin(1), False, label_dropout=dropout
    )
    label = torch.arange(count) % 4
    out = method(Batch(batch_of(count).image, label), noise_of(count))
    seen = out.watch["energy_positive"].long()
    assert torch.equal(out.watch["energy_negative"].long(), seen)
    dropped = seen == -1
    assert torch.equal(seen[~dropped], label[~dropped])
    share = dropped.double().mean().item()
    assert share == pytest.approx(dropout, abs=4 * math.sqrt(dropout * (1 - dropout) / count))
    # whatever the level: a share of one level alike
    for t in range(1, 7):
        share = dropped[out.t == t].double().mean().item()
        assert share == pytest.approx(dropout, abs=4.5 * math.sqrt(dropout * (1 - dropout) * 6 / count))
    # an energy without classes never sees a label
    unlabelled = RecoveryLikelihood(
        LabelSeen(0), CopyInitializer((2,)), CosineSchedule(), Langevin(1), False, label_dropout=0.0
    )
    assert (unlabelled(Batch(batch_of(8).image, label[:8]), noise_of(8)).watch["energy_positive"] == -1).all()


class LabelRead(CopyInitializer):
    """Remembers the labels that it was asked with."""

    def mean(self, x_t, transition, label=None):
        self.labels = label
        return super().mean(x_t, transition, label)


def test_the_initializer_sees_the_labels_that_the_energy_sees() -> None:
    initializer = LabelRead((2,), 4)
    method = RecoveryLikelihood(
        LabelSeen(4), initializer, CosineSchedule(), Langevin(1), False, label_dropout=0.5
    )
    out = method(Batch(batch_of(200).image, torch.arange(200) % 4), noise_of(200))
    assert torch.equal(initializer.labels, out.watch["energy_positive"].long())


def test_a_single_class_is_a_class() -> None:
    method = RecoveryLikelihood(
        LabelSeen(1), CopyInitializer((2,)), CosineSchedule(), Langevin(1), False, label_dropout=0.0
    )
    out = method(Batch(batch_of(8).image, torch.zeros(8, dtype=torch.int64)), noise_of(8))
    assert (out.watch["energy_positive"] == 0).all() and (out.watch["energy_negative"] == 0).all()
