"""Image i of seed S is the same for any batch size and any division of the work.

tests/runtime/test_two_processes.py shows it with processes that exist; here the work is divided by hand.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.energies.mlp import MLPEnergy
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.initializers.mlp import MLPInitializer
from modules.methods.networks import Networks
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling import indexed
from modules.sampling.draw import Draw, Start
from modules.sampling.generation import Generation
from modules.sampling.indexed import diverged, level_bar, not_finite, sample, sample_batches
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)

NUM = 11
LABELS = torch.arange(NUM) % 4 - 1
SCHEDULE = CosineSchedule()
RUNTIME = Runtime(precision="no", trackers=())
GENERATION = Generation(Langevin(3), ClassifierFreeGuidance(0.7))


@pytest.fixture(scope="module")
def networks() -> tuple[MLPEnergy, MLPInitializer]:
    torch.manual_seed(0)
    pair = MLPEnergy((1, 2, 3), 3, width=16, depth=1), MLPInitializer((1, 2, 3), 3, width=16, depth=1)
    for network in pair:
        network.double()
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.3)
    return pair


def _all(networks, seed: int = 5, batch_size: int = NUM, labels: Tensor | None = LABELS) -> Tensor:
    """x and every level, (8, NUM, 1, 2, 3)."""
    draw = Draw.of_seed(seed, NUM, labels, dtype=torch.float64)
    out = sample(GENERATION, Networks(*networks, SCHEDULE), draw, RUNTIME, batch_size)
    return torch.stack([out.x, *out.levels])


@pytest.mark.parametrize("batch_size", [1, 4, 10, 256])
def test_any_batch_size(networks, batch_size: int) -> None:
    torch.testing.assert_close(_all(networks, batch_size=batch_size), _all(networks), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("num_processes", [2, 3, 13])
def test_any_division_of_the_indices(networks, num_processes: int) -> None:
    whole = _all(networks)
    seen, draw = [], Draw.of_seed(5, NUM, LABELS, dtype=torch.float64)
    for rank in range(num_processes):
        mine = torch.arange(NUM)[rank::num_processes]
        batches = sample_batches(GENERATION, Networks(*networks, SCHEDULE), draw, mine, RUNTIME, 2)
        for index, drawn in batches:
            torch.testing.assert_close(drawn.x, whole[0, index], rtol=1e-10, atol=1e-10)
            seen += index.tolist()
    assert sorted(seen) == list(range(NUM))


@pytest.mark.parametrize("places", [(), (0, 3), (2, 6)])
def test_levels_that_nobody_asked_for_are_not_kept(networks, places: tuple[int, ...]) -> None:
    draw, whole = Draw.of_seed(5, NUM, LABELS, dtype=torch.float64), _all(networks)
    drawn = sample(GENERATION, Networks(*networks, SCHEDULE), draw, RUNTIME, only_levels=places)
    wanted = sorted({*places, SCHEDULE.num_levels})  # x_0 always is
    assert torch.equal(torch.stack(drawn.levels), whole[1:][wanted]) and torch.equal(drawn.x, whole[0])


def test_each_level_of_each_batch_is_told(networks) -> None:
    """Of 11 samples by 4, three batches of six levels; the bar has as many."""
    told, draw = [], Draw.of_seed(5, NUM, LABELS, dtype=torch.float64)
    for number, _ in enumerate(
        sample_batches(
            GENERATION,
            Networks(*networks, SCHEDULE),
            draw,
            torch.arange(NUM),
            RUNTIME,
            4,
            each=lambda: told.append(1),
        ),
        start=1,
    ):
        assert len(told) == 6 * number
    assert number == 3
    assert level_bar(draw, NUM, SCHEDULE, 4, shown=True).total == 18
    begun = Draw(LABELS, draw.noise, Start(torch.zeros(NUM, 1, 2, 3), 2))
    assert level_bar(begun, NUM, SCHEDULE, 256, shown=True).total == 2


def test_fewer_images_are_the_first_ones(networks) -> None:
    few = sample(
        GENERATION,
        Networks(*networks, SCHEDULE),
        Draw.of_seed(5, 3, LABELS[:3], dtype=torch.float64),
        RUNTIME,
    )
    torch.testing.assert_close(few.x, _all(networks)[0, :3], rtol=1e-10, atol=1e-10)


def test_images_differ_by_index_seed_and_label(networks) -> None:
    x = _all(networks)[0].flatten(1)
    assert torch.cdist(x, x).fill_diagonal_(1).min() > 0.1
    other_seed = _all(networks, seed=6)[0].flatten(1)
    assert (x - other_seed).abs().amax(1).min() > 0.1
    none = _all(networks, labels=None)
    torch.testing.assert_close(none, _all(networks, labels=torch.full((NUM,), -1)), rtol=0, atol=0)
    changed = (x - none[0].flatten(1)).abs().amax(1)
    assert (changed[LABELS >= 0] > 1e-3).all() and (changed[LABELS < 0] < 1e-10).all()


def test_networks_are_put_into_eval_mode(networks) -> None:
    for network in networks:
        network.train()
    _all(networks)
    assert not any(network.training for network in networks)


def test_samples_that_are_not_finite_are_counted_one_each() -> None:
    x = torch.zeros(5, 2, 3)
    x[1, 0, 2], x[1, 1, 1], x[3, 1, 0] = torch.nan, torch.inf, -torch.inf
    assert not_finite(x) == 2 and not_finite(x[:1]) == 0
    assert str(diverged(2, 5)).startswith("2 of 5 samples are not finite")


def test_a_bar_is_shown_where_it_is_asked_for_alone(networks, capsys) -> None:
    draw, parts = Draw.of_seed(5, 3, dtype=torch.float64), Networks(*networks, SCHEDULE)
    sample(GENERATION, parts, draw, RUNTIME)
    assert capsys.readouterr().err == ""
    sample(GENERATION, parts, draw, RUNTIME, batch_size=2, progress=True)
    assert "/12" in capsys.readouterr().err


def test_the_bar_goes_from_level_to_level_to_its_end(networks, monkeypatch) -> None:
    bars, made = [], indexed.level_bar
    monkeypatch.setattr(indexed, "level_bar", lambda *given: bars.append(made(*given)) or bars[-1])
    parts = Networks(*networks, SCHEDULE)
    sample(GENERATION, parts, Draw.of_seed(5, 3, dtype=torch.float64), RUNTIME, batch_size=2, progress=True)
    (bar,) = bars
    assert bar.n == bar.total == 2 * SCHEDULE.num_levels


@pytest.mark.parametrize("kept", [None, [], [0], [0, 6], [6]])
def test_levels_are_those_asked_for_and_the_last_once(networks, kept) -> None:
    parts, top = Networks(*networks, SCHEDULE), SCHEDULE.num_levels
    draw = Draw.of_seed(5, 3, dtype=torch.float64)
    everything = sample(GENERATION, parts, draw, RUNTIME).levels
    assert len(everything) == top + 1 == 7
    found = sample(GENERATION, parts, draw, RUNTIME, only_levels=kept).levels
    places = range(top + 1) if kept is None else sorted({*kept, top})
    assert len(found) == len(places)
    assert all(torch.equal(one, everything[place]) for one, place in zip(found, places, strict=True))


def test_no_more_samples_are_drawn_at_once_than_asked_for(networks) -> None:
    sizes: list[int] = []

    class Counting(Generation):
        def walk(self, networks, draw):
            sizes.append(len(draw))
            return super().walk(networks, draw)

    draw = Draw.of_seed(5, 5, dtype=torch.float64)
    sample(Counting(Langevin(0)), Networks(*networks, SCHEDULE), draw, RUNTIME, 2)
    assert sizes == [2, 2, 1]
