"""Labels in one energy's training step: dropped alike in every part, and class 0 is a class."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modules.core.types import Batch, Transition
from modules.energies.base import Energy
from modules.energies.normalized import NormalizedEnergy
from modules.losses.contrast import RecoveryContrast
from modules.losses.score import ScoreMatching
from tests.methods.quadratic import COUNT, LABEL, Quadratic, batch_of, method_of, noise_of, step_of

torch.set_num_threads(1)


class Seen(Energy):
    """E = 0 of any sample; remembers the labels it was asked with."""

    def __init__(self) -> None:
        super().__init__((2,), 3)
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.labels: list[Tensor] = []

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        assert label is not None
        self.labels.append(label)
        return self.weight * y.sum(1)


@pytest.mark.parametrize("dropout", [0.0, 0.4, 1.0])
def test_labels_are_dropped_alike_in_every_part_of_a_step(dropout: float) -> None:
    """Slopes, proposal, chain, data and chain's ends see one label each, or none in the share `dropout`."""
    count = 2_000
    energy, label = Seen(), torch.arange(count) % 3
    method = method_of(
        energy, level_score=None, recovery=RecoveryContrast(), label_dropout=dropout, score=ScoreMatching()
    )
    method.begin_step(0)
    x = torch.zeros(count, 2, dtype=torch.float64)
    method(Batch(x, label), noise_of(torch.arange(count)))
    first = energy.labels[0]
    assert all(torch.equal(seen, first) for part in energy.labels for seen in part.split(count))
    assert len(energy.labels) >= 4
    assert torch.equal(first[first >= 0], label[first >= 0])
    assert (first < 0).double().mean().item() == pytest.approx(dropout, abs=0.04)


def test_labels_matter_and_networks_without_them_get_none() -> None:
    energy = NormalizedEnergy(Quadratic(3)).double()
    method = method_of(energy, label_dropout=0.0)
    out = step_of(method, 1)
    other = step_of(method, 1, batch_of(label=LABEL.flip(0)))
    changed = out.watch["score_loss"] != other.watch["score_loss"]
    assert torch.equal(changed, LABEL.flip(0) != LABEL)
    plain = step_of(method_of(), 1)
    assert torch.equal(
        plain.losses["energy"], step_of(method_of(), 1, batch_of(label=LABEL.flip(0))).losses["energy"]
    )


def test_a_single_class_is_a_class() -> None:
    energy = Seen()
    energy.num_classes = 1
    method = method_of(energy, level_score=None, label_dropout=0.0)
    step_of(method, 1, batch_of(label=torch.zeros(COUNT, dtype=torch.int64)))
    assert all((seen == 0).all() for seen in energy.labels) and len(energy.labels) >= 4
