"""What a protocol says of a component: every argument of its constructor, wherever it is kept."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from torch import nn

from modules.core.checks import ConfigurationError
from modules.data.points import GaussianMixture2D, Rings
from modules.data.shapes import Shapes
from modules.report.protocol import described
from modules.sampling.generation import Generation
from modules.sampling.inpainting import Inpainting
from modules.schedules.linear import LinearSchedule
from tests.test_contracts import GUIDANCES, SAMPLERS, SCHEDULES
from tests.test_contracts_measures import METRICS
from tests.test_contracts_training import DATA

torch.set_num_threads(1)

MADE = [
    *(make() for table in (SCHEDULES, SAMPLERS, GUIDANCES) for make in table.values()),
    *(make(False) for make in DATA.values()),
    *(kind() for kind in METRICS),
    Inpainting(),
    Generation(next(iter(SAMPLERS.values()))()),
]


@pytest.mark.parametrize("component", MADE, ids=lambda c: type(c).__name__)
def test_every_argument_is_said(component: object) -> None:
    found = described(component)
    assert set(found) == {"class", *inspect.signature(type(component)).parameters}
    json.dumps(found)


@pytest.mark.parametrize(
    ("component", "wanted"),
    [
        (
            LinearSchedule(200, 5e-4, 0.1, 50),
            {"num_levels": 200, "beta_min": 5e-4, "beta_max": 0.1, "num_used": 50},
        ),
        (GaussianMixture2D(5), {"num_modes": 5}),
        (Rings(3), {"num_rings": 3}),
        (Shapes(omit=(("circle", "red"),)), {"omit": [["circle", "red"]]}),
    ],
)
def test_arguments_that_are_kept_under_other_names(component: object, wanted: dict) -> None:
    assert {name: described(component)[name] for name in wanted} == wanted


class Forgetful:
    """A user's component whose β the protocol could not say."""

    def __init__(self, beta: float) -> None:
        self.doubled = 2 * beta


class Renamed(Forgetful):
    kept_as = {"beta": "doubled"}  # noqa: RUF012


class Holding:
    def __init__(self, network: nn.Module) -> None:
        self.network = network


def test_an_argument_that_is_kept_nowhere_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"^Forgetful keeps its argument 'beta' nowhere.*kept_as"):
        described(Forgetful(0.5))
    found = described(Renamed(0.5))
    assert found.pop("code") and found == {"class": "Renamed", "beta": 1.0}


def test_a_network_is_told_by_its_weights() -> None:
    torch.manual_seed(0)
    one, other = Holding(nn.Linear(2, 2)), Holding(nn.Linear(2, 2))
    assert described(one) == described(one) != described(other)
