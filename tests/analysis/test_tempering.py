"""Parallel tempering visits both modes of a mixture as often as it should, and leaves every level its law."""

from __future__ import annotations

import pytest
import torch

from modules.analysis.chains import at_level
from modules.analysis.tempering import Replicas, exchange
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.analytic import MixtureEnergy
from modules.energies.marginal import MarginalPotential
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.sampling.generation import Generation
from modules.schedules.continuous import ContinuousSchedule

torch.set_num_threads(1)

LEVELS, SHARE = 6, 0.3
MEANS = torch.tensor([[-0.8, 0.1], [0.7, 0.4]], dtype=torch.float64)
MIXTURE = MixtureEnergy(MEANS, [0.02, 0.01], [1 - SHARE, SHARE])  # at level 0 some 7 widths lie between
SCHEDULE = ContinuousSchedule(LEVELS)


def _noise(rows: torch.Tensor) -> Noise:
    return Noise(0, rows, stream="tempering", dtype=torch.float64)


def _transition(num: int):
    return SCHEDULE.transition(torch.arange(1, LEVELS + 1).repeat_interleave(num), torch.float64)


def _in_second(x: torch.Tensor) -> torch.Tensor:
    """Which points are nearer to the second mean."""
    return torch.cdist(x, MEANS).argmin(-1) == 1


def _draws(transition, noise) -> torch.Tensor:
    """Exact draws of every row's level."""
    which = (noise.uniform("which") < SHARE).long()
    x = MEANS[which] + torch.tensor([0.02, 0.01], dtype=torch.float64)[which].sqrt()[:, None] * noise.normal(
        "x", (2,)
    )
    return transition.alpha_s[:, None] * x + transition.sigma_s[:, None] * noise.normal("eps", (2,))


def _chains(num: int, records: int, replicas: Replicas | None):
    """All from the first mode, at every level."""
    levels = LEVELS if replicas else 1
    rows = torch.arange(levels * num)
    c = _transition(num).map(lambda v: v[: levels * num])
    x = c.alpha_s[:, None] * MEANS[0] + c.sigma_s[:, None] * _noise(rows).normal("eps", (2,))
    sampler = AdjustedLangevin(3, num_warmup=60)
    none = torch.full_like(rows, -1)
    return at_level(
        Generation(sampler), MIXTURE, sampler, c, x, None, none, _noise(rows), records, records + 1,
        replicas=replicas, runs=2,
    )  # fmt: skip


def test_modes_are_visited_as_often_as_they_should():
    num, records = 100, 60
    replicas = Replicas(LEVELS)
    chains = _chains(num, records, replicas)
    assert chains.t == 1 and chains.energy.shape == (records + 1, num)
    second = _in_second(chains.frames[records // 4 :]).double()
    shares = second.mean(0)  # of each chain: they are independent
    error = float(shares.std()) / num**0.5
    assert error < 0.03 and abs(float(shares.mean()) - SHARE) < 3 * error
    alone = _chains(num, records, None)
    assert float(_in_second(alone.frames).double().mean()) == 0  # without swaps none ever crosses
    assert alone.swaps is None and alone.round_trips is None
    assert chains.swaps is not None and chains.swaps.shape == (LEVELS - 1, num)
    assert (chains.swaps.mean(1) > 0.2).all()
    assert chains.round_trips is not None and float(chains.round_trips.mean()) > 3


@pytest.mark.parametrize("odd", [False, True])
def test_a_round_of_swaps_leaves_every_level_its_law(odd):
    """Of exact draws: mean and variance at each level, before and after, within 4 standard errors."""
    num = 4000
    c, noise = _transition(num), _noise(torch.arange(LEVELS * num))
    x = _draws(c, noise)
    none = torch.full((LEVELS * num,), -1)
    potential = MarginalPotential(MIXTURE.at(c, none), c)
    found = exchange(potential, x, c.y_scale, LEVELS, odd, noise)
    torch.testing.assert_close(found.y, x[found.came_from])
    asked = torch.arange(LEVELS - 1) % 2 == int(odd)
    assert (found.taken.double().mean(1)[asked] > 0.1).all() and not found.taken[~asked].any()
    assert 0.2 < float(found.taken[asked].double().mean()) < 0.95
    for old, new in zip(x.view(LEVELS, num, 2), found.y.view(LEVELS, num, 2), strict=True):
        for of in (lambda v: v, lambda v: v**2, _in_second):
            before, after = of(old).double(), of(new).double()
            error = (before.var(0) * 2 / num).sqrt()
            assert (abs(after.mean(0) - before.mean(0)) < 4 * error).all()


def test_a_swap_that_is_sure_and_where_states_came_from():
    """Energies that want the other level's state: all asked swaps are taken, and a top state comes down."""
    wanted = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)  # at level l the number wanted

    class Wishes:
        def __call__(self, y):
            return 1000 * (y[:, 0] - wanted).square()

    y, scale = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    replicas = Replicas(3)
    for number, expected in enumerate(([1, 0, 2], [1, 2, 0], [2, 1, 0])):
        y = replicas.swap(Wishes(), y, scale, _noise(torch.arange(3)).child(str(number)))
        assert y[:, 0].tolist() == expected
    assert replicas.acceptance[:, 0].tolist() == [1.0, 1.0]
    assert replicas.round_trips.tolist() == [1.0]
    with pytest.raises(ConfigurationError, match="at least 2"):
        Replicas(1)
