"""The energy's loss (spec §5)."""

from __future__ import annotations

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.schedules.cosine import CosineSchedule
from tests.golden_weights import golden

torch.set_num_threads(1)

POSITIVE, NEGATIVE = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([4.0, 1.0, 0.5]).double()
TRANSITION = CosineSchedule().transition(torch.tensor([1, 3, 6]), torch.float64)


def test_weighted_contrast() -> None:
    """Contrasts -3, -3, 0 with the published weights."""
    weight = golden("cdrl_schedule")["loss_weight"]
    loss = RecoveryLikelihoodLoss()(POSITIVE, NEGATIVE, TRANSITION)
    assert loss.item() == pytest.approx((-3 * weight[0] - 3 * weight[2]).item() / 3, rel=1e-6)
    assert RecoveryLikelihoodLoss(weighted=False)(POSITIVE, NEGATIVE, TRANSITION).item() == -2.0


def test_descent_lowers_data_and_raises_samples() -> None:
    positive, negative = POSITIVE.clone().requires_grad_(), NEGATIVE.clone().requires_grad_()
    RecoveryLikelihoodLoss()(positive, negative, TRANSITION).backward()
    assert positive.grad is not None and negative.grad is not None
    assert (positive.grad > 0).all() and torch.equal(negative.grad, -positive.grad)
    # the top level counts least, as it is noisiest
    assert positive.grad[0] > positive.grad[1] > positive.grad[2]


def test_magnitude_penalty_is_a_pull_towards_zero() -> None:
    """0.1 · mean(1 + 16, 4 + 1, 0.25 + 0.25) on top."""
    plain = RecoveryLikelihoodLoss()(POSITIVE, NEGATIVE, TRANSITION)
    penalized = RecoveryLikelihoodLoss(magnitude_penalty=0.1)(POSITIVE, NEGATIVE, TRANSITION)
    assert (penalized - plain).item() == pytest.approx(0.1 * 7.5)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: RecoveryLikelihoodLoss(weighted=1), "RecoveryLikelihoodLoss.weighted"),
        (lambda: RecoveryLikelihoodLoss(magnitude_penalty=-1), "RecoveryLikelihoodLoss.magnitude_penalty"),
    ],
)
def test_faults_are_named(make, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        make()
