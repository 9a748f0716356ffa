"""A class where an instance is meant gets one line of its own, wherever it is given."""

import pytest

from modules.core.checks import ConfigurationError, check_callable, check_instance
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.samplers.base import Sampler
from modules.samplers.langevin import Langevin


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: check_callable("X.loss", RecoveryLikelihoodLoss), "@RecoveryLikelihoodLoss()"),
        (lambda: check_callable("X.loss", 3), "to be called, got 3"),
        (lambda: check_instance("X.sampler", Langevin, Sampler), "@Langevin()"),
        (lambda: check_instance("X.sampler", "Langevin", Sampler), "must be Sampler, got 'Langevin'"),
    ],
)
def test_what_is_not_an_instance_is_named(check, words):
    with pytest.raises(ConfigurationError, match=r"^X") as caught:
        check()
    assert words in str(caught.value)


def test_instances_and_functions_pass():
    check_callable("X.loss", RecoveryLikelihoodLoss())
    check_callable("X.loss", lambda positive, negative, transition: 0)
    check_instance("X.sampler", Langevin(), Sampler)
