"""The ladders: published tables, the identities of spec §1, and T1k's properties (spec §9)."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.types import Transition
from modules.schedules.base import Schedule
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.linear import LinearSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from tests.golden_weights import golden

torch.set_num_threads(1)

LADDERS = [
    CosineSchedule(),
    CosineSchedule(num_levels=1),
    CosineSchedule(num_levels=3, logsnr_max=4.0, logsnr_min=-2.0, step_variance=0.1),
    SubsampledLinearSchedule(),
    SubsampledLinearSchedule(num_levels=2),
    SubsampledLinearSchedule(num_levels=12),
    LinearSchedule(),
    LinearSchedule(num_levels=10, beta_min=0.01, beta_max=0.3),
    LinearSchedule(num_used=25),
    ContinuousSchedule(),
    ContinuousSchedule(num_levels=1),
    ContinuousSchedule(num_levels=25, logsnr_max=6.0, logsnr_min=-3.0),
]
ONES = torch.ones(4, dtype=torch.float64)
every_ladder = pytest.mark.parametrize("schedule", LADDERS, ids=lambda s: f"{type(s).__name__}{s.num_levels}")


def _table(schedule: Schedule, dtype: torch.dtype = torch.float64) -> Transition:
    return schedule.transition(torch.arange(1, schedule.num_levels + 1), dtype)


@pytest.mark.parametrize("num_levels", [3, 6, 12])
def test_published_drl_tables(num_levels: int) -> None:
    recorded = golden("drl_schedule")
    table = _table(SubsampledLinearSchedule(num_levels))
    for name, key, rows in (
        ("alpha_t", "a_cum", slice(1, None)),
        ("alpha_s", "a_cum", slice(-1)),
        ("sigma_t", "sigma_cum", slice(1, None)),
        ("sigma_s", "sigma_cum", slice(-1)),
        ("alpha_ts", "a", slice(1, None)),
        ("sigma_ts", "sigma", slice(1, None)),
    ):
        wanted = recorded[f"T{num_levels}.{key}"][rows]
        torch.testing.assert_close(getattr(table, name), wanted, rtol=0, atol=1e-12)


class _Own(Schedule):
    """A user's ladder, from x_t = x + σ_t ε (variance exploding) to what is asked for."""

    def __init__(self, **faults) -> None:
        self.faults = faults
        super().__init__(3)

    def ladder(self):
        falling = torch.tensor([0.9, 0.5, 0.1, 0.01], dtype=torch.float64)
        return self.faults.get("ladder", (falling, 1 - falling))

    def coefficients(self, ladder):
        ones = torch.ones(3, dtype=torch.float64)
        found = dict.fromkeys(("energy_scale", "step_size", "loss_weight", "y_scale"), ones)
        found = {**found, "is_top": ones > 1, **self.faults.get("coefficients", {})}
        return {name: value for name, value in found.items() if value is not None}


class _RoundedPositions(CosineSchedule):
    """t/T rounded as in the recorded table."""

    def positions(self) -> torch.Tensor:
        return (torch.arange(self.num_levels + 1, dtype=torch.float32) / self.num_levels).double()


@pytest.mark.parametrize(("schedule", "tolerance"), [(CosineSchedule(), 1e-6), (_RoundedPositions(), 1e-12)])
def test_published_cdrl_table(schedule: CosineSchedule, tolerance: float) -> None:
    recorded, table = golden("cdrl_schedule"), _table(schedule)
    for got, key in (
        (table.t, "t"),
        (table.alpha_t**2, "alpha_bar_t"),
        (table.alpha_s**2, "alpha_bar_prev"),
        (table.alpha_ts**2, "alpha_ratio"),
        (table.sigma_ts**2, "sigma2"),
        (table.sigma_s, "sigma_cum_prev"),
        (table.sigma_s / table.sigma_s[0], "c2"),
        (table.energy_scale, "langevin_step2"),
        (table.step_size**2, "langevin_step2"),
        (table.posterior_var, "posterior_var"),
        (table.loss_weight, "loss_weight"),
        (table.logsnr_s, "logsnr_prev"),
    ):
        torch.testing.assert_close(got, recorded[key], rtol=tolerance, atol=0)
    torch.testing.assert_close(table.logsnr_t, recorded["logsnr_t"], rtol=tolerance, atol=1e-6)


def test_published_toy_steps() -> None:
    """b² = 2e-3/σ̄_0, as in gin/cdrl_checkerboard_published.gin, times σ_t² at every level."""
    table = _table(CosineSchedule(step_variance=0.26859, level_scaled=False))
    for steps in (table.energy_scale, table.step_size**2):
        torch.testing.assert_close(steps, golden("cdrl_toy")["langevin_step2"], rtol=2e-5, atol=0)


@every_ladder
def test_identities(schedule: Schedule) -> None:
    c = _table(schedule)
    close = {"rtol": 1e-12, "atol": 1e-15}
    one = torch.ones(schedule.num_levels, dtype=torch.float64)
    torch.testing.assert_close(c.alpha_t**2 + c.sigma_t**2, one, **close)
    torch.testing.assert_close(c.alpha_s**2 + c.sigma_s**2, one, **close)
    torch.testing.assert_close(c.alpha_ts**2 + c.sigma_ts**2, one, **close)
    torch.testing.assert_close(c.alpha_t, c.alpha_ts * c.alpha_s, **close)
    torch.testing.assert_close(c.sigma_t**2, c.alpha_ts**2 * c.sigma_s**2 + c.sigma_ts**2, **close)
    # precisions add: x_s given x_t and x is known through x (σ̄_s) and through x_t (σ_t/√α_t)
    precision = 1 / c.sigma_s**2 + c.alpha_ts**2 / c.sigma_ts**2
    torch.testing.assert_close(c.posterior_var, 1 / precision, **close)
    torch.testing.assert_close(torch.sigmoid(c.logsnr_t), c.alpha_t**2, **close)
    torch.testing.assert_close(torch.sigmoid(c.logsnr_s), c.alpha_s**2, **close)
    assert (c.logsnr_t < c.logsnr_s).all()
    # transitions meet: t of one is s of the next
    for t, s in (("alpha_t", "alpha_s"), ("sigma_t", "sigma_s"), ("logsnr_t", "logsnr_s")):
        assert torch.equal(getattr(c, t)[:-1], getattr(c, s)[1:])


@every_ladder
def test_scales_are_positive_and_finite(schedule: Schedule) -> None:
    for dtype in (torch.float32, torch.float64):
        c = _table(schedule, dtype)
        for field in fields(Transition):
            values = getattr(c, field.name)
            assert values.shape == (schedule.num_levels,)
            if field.name not in ("t", "is_top"):
                assert values.dtype == dtype
                assert torch.isfinite(values[1:]).all()
        assert (c.energy_scale > 0).all() and (c.step_size > 0).all() and (c.loss_weight > 0).all()
        assert c.is_top.dtype == torch.bool and c.t.dtype == torch.int64


@pytest.mark.parametrize("schedule", LADDERS[:6], ids=lambda s: f"{type(s).__name__}{s.num_levels}")
def test_chain_ladders_end_in_a_marginal_model(schedule: Schedule) -> None:
    c = _table(schedule)
    assert c.is_top.tolist() == [False] * (schedule.num_levels - 1) + [True]
    assert c.y_scale[-1] == 1 and torch.equal(c.y_scale[:-1], c.alpha_ts[:-1])
    assert c.loss_weight[0] == 1


def test_cosine_ends() -> None:
    c = _table(CosineSchedule(num_levels=4, logsnr_max=7.0, logsnr_min=-3.0))
    assert c.logsnr_s[0].item() == pytest.approx(7.0, abs=1e-12)
    assert c.logsnr_t[-1].item() == pytest.approx(-3.0, abs=1e-12)
    # symmetric ends: the middle angle is 45 degrees, where signal and noise are equal
    middle = _table(CosineSchedule(num_levels=4, logsnr_max=5.0, logsnr_min=-5.0))
    assert middle.logsnr_t[1].item() == pytest.approx(0.0, abs=1e-12)


def test_step_variance_scales_chain_and_energy_alone() -> None:
    """DRL's b² = 2e-4 is its default: level 1 has s_1² = b² σ_1²."""
    small, large = SubsampledLinearSchedule(), SubsampledLinearSchedule(step_variance=8e-4)
    one, other = _table(small), _table(large)
    torch.testing.assert_close(other.step_size, 2 * one.step_size)
    torch.testing.assert_close(other.energy_scale, 4 * one.energy_scale)
    assert torch.equal(other.posterior_var, one.posterior_var)
    assert torch.equal(other.loss_weight, one.loss_weight)
    assert (one.energy_scale[0] / one.sigma_ts[0] ** 2).item() == pytest.approx(2e-4, rel=1e-12)
    assert small.same_as(SubsampledLinearSchedule()) and not small.same_as(large)


def test_thousand_levels() -> None:
    """ᾱ_1000 is DDPM's 4.0358e-5 (arXiv 2006.11239, its ladder); σ_t² are the β."""
    c = _table(LinearSchedule())
    assert c.alpha_s[0] == 1 and c.sigma_s[0] == 0 and c.logsnr_s[0] == math.inf
    assert c.posterior_var[0] == 0  # the last step adds no noise
    assert (c.alpha_t[-1] ** 2).item() == pytest.approx(4.0358e-5, rel=1e-4)
    assert c.step_size[[0, -1]].square().tolist() == pytest.approx([1e-4, 2e-2], rel=1e-12)
    torch.testing.assert_close(c.step_size.square().diff(), torch.full((999,), 1.99e-2 / 999).double())
    torch.testing.assert_close(c.energy_scale**2 + c.alpha_t**2, torch.ones(1000).double())
    assert not c.is_top.any() and torch.equal(c.y_scale, c.alpha_ts)
    assert torch.equal(c.loss_weight, torch.ones(1000).double())


def test_transition_gathers_rows() -> None:
    schedule = CosineSchedule()
    table = _table(schedule)
    t = torch.tensor([6, 1, 1, 3])
    picked = schedule.transition(t, torch.float64)
    by_index = table.map(lambda v: v[t - 1])
    for field in fields(Transition):
        assert torch.equal(getattr(picked, field.name), getattr(by_index, field.name)), field.name
    single = schedule.transition(t)
    assert single.alpha_t.dtype == torch.float32
    torch.testing.assert_close(single.energy_scale.double(), picked.energy_scale, rtol=1e-7, atol=0)


def test_ladders_differ() -> None:
    assert CosineSchedule().same_as(CosineSchedule())
    others = (
        CosineSchedule(5),
        CosineSchedule(logsnr_min=-5.0),
        SubsampledLinearSchedule(),
        LinearSchedule(6),
        ContinuousSchedule(),
    )
    for other in others:
        assert not CosineSchedule().same_as(other) and not other.same_as(CosineSchedule())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CosineSchedule(0), ["CosineSchedule.num_levels", "at least 1", "0"]),
        (lambda: CosineSchedule(6.0), ["CosineSchedule.num_levels", "integer", "6.0"]),
        (lambda: CosineSchedule(logsnr_max=1.0, logsnr_min=2.0), ["logsnr_max", "above 0"]),
        (lambda: CosineSchedule(logsnr_max=25.0), ["logsnr_max", "at most 20"]),
        (lambda: CosineSchedule(step_variance=0), ["CosineSchedule.step_variance", "above 0"]),
        (lambda: SubsampledLinearSchedule(1), ["SubsampledLinearSchedule.num_levels", "at least 2"]),
        (lambda: SubsampledLinearSchedule(6, num_fine=11), ["num_fine", "at least 12"]),
        (lambda: SubsampledLinearSchedule(beta_min=0.1, beta_max=0.01), ["beta_max", "at least 0.1"]),
        (lambda: LinearSchedule(1), ["LinearSchedule.num_levels", "at least 2"]),
        (lambda: LinearSchedule(beta_min=0), ["LinearSchedule.beta_min", "above 0"]),
        (lambda: LinearSchedule(beta_max=1.0), ["LinearSchedule.beta_max", "0.999"]),
        (lambda: LinearSchedule(10, num_used=11), ["LinearSchedule.num_used", "at most 10"]),
        (lambda: LinearSchedule(10).with_levels(11), ["--ladder 11", "trained on 10 levels"]),
        (lambda: ContinuousSchedule(0), ["ContinuousSchedule.num_levels", "at least 1"]),
        (lambda: ContinuousSchedule(logsnr_min=10.0), ["logsnr_max - logsnr_min", "above 0"]),
        (lambda: CosineSchedule().with_levels(12), ["the 6 levels of a CosineSchedule", "--ladder"]),
        (lambda: SubsampledLinearSchedule(3).with_levels(3), ["the 3 levels", "--ladder"]),
        (lambda: CosineSchedule(step_variance=5.0, level_scaled=False), ["b² c_t = 5", "below 4"]),
        (lambda: _Own(ladder=(ONES, ONES * 4)), ["_Own.ladder gave ᾱ + σ̄² = 5 at level 0", "preserving"]),
        (lambda: _Own(ladder=(ONES[:3], ONES[:3])), ["_Own.ladder gave (3,)", "shape (4,)"]),
        (lambda: _Own(ladder=(ONES.float() / 2, ONES.float() / 2)), ["torch.float32", "float64"]),
        (lambda: _Own(ladder=(ONES / 2, ONES / 2)), ["ᾱ from 0.5 to 0.5", "falls from level to level"]),
        (lambda: _Own(coefficients={"loss_weight": None}), ["_Own.coefficients gave", "loss_weight"]),
        (lambda: _Own(coefficients={"step_size": ONES[:3] * 0}), ["step_size down to 0", "above 0"]),
        (lambda: _Own(coefficients={"is_top": ONES[:3]}), ["is_top as (3,) torch.float64", "torch.bool"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


KEPT = [
    CosineSchedule(4, 7.0, -3.0, 0.01, False),
    SubsampledLinearSchedule(4, 100, 1e-3, 0.1, 0.01),
    LinearSchedule(40, 1e-3, 0.1, 8),
    ContinuousSchedule(4, 7.0, -3.0),
]


@pytest.mark.parametrize("schedule", KEPT, ids=lambda s: type(s).__name__)
def test_a_ladder_is_made_again_by_what_it_was_made_with(schedule: Schedule) -> None:
    arguments = arguments_of(schedule, "")
    assert (
        list(arguments.values())
        == {
            "CosineSchedule": [4, 7.0, -3.0, 0.01, False],
            "SubsampledLinearSchedule": [4, 100, 1e-3, 0.1, 0.01],
            "LinearSchedule": [40, 1e-3, 0.1, 8],
            "ContinuousSchedule": [4, 7.0, -3.0],
        }[type(schedule).__name__]
    )
    assert type(schedule)(**arguments).same_as(schedule)


FALLING = torch.tensor([0.9, 0.5, 0.1, 0.01], dtype=torch.float64)


@pytest.mark.parametrize(
    ("level", "off", "words"),
    [
        (2, 0.2, "gave ᾱ + σ̄² = 1.2 at level 2, must give 1"),
        (3, -0.3, "gave ᾱ + σ̄² = 0.7 at level 3, must give 1"),
        (0, 2e-6, "at level 0"),
        (1, math.nan, "finite float64"),
        (1, math.inf, "finite float64"),
    ],
)
def test_one_level_that_loses_variance_is_named(level: int, off: float, words: str) -> None:
    noise = 1 - FALLING
    noise[level] += off
    with pytest.raises(ConfigurationError) as caught:
        _Own(ladder=(FALLING, noise))
    assert words in str(caught.value), str(caught.value)
    noise[level] = 1 - FALLING[level] + 5e-7  # as rounding leaves it
    assert _Own(ladder=(FALLING, noise)).num_levels == 3


@pytest.mark.parametrize("last", [0.0, 0.1, 0.2])
def test_a_ladder_falls_at_every_level_and_not_to_zero(last: float) -> None:
    alpha_bar = FALLING.clone()
    alpha_bar[3] = last
    with pytest.raises(ConfigurationError, match="that falls from level to level"):
        _Own(ladder=(alpha_bar, 1 - alpha_bar))


def test_a_chain_that_flies_off_is_named_by_its_level() -> None:
    """From b² c_t = 4 on, c_t growing up to the last level below the top, which alone has no tether."""
    for variance in (4.0, 4.5):
        with pytest.raises(ConfigurationError, match=rf"b² c_t = {variance:g} at t = 1, .*below {4:g}$"):
            CosineSchedule(step_variance=variance, level_scaled=False)
    assert CosineSchedule(step_variance=3.99, level_scaled=False).num_levels == 6
    assert CosineSchedule(1, step_variance=50.0).num_levels == 1
    largest = float(golden("cdrl_schedule")["c2"][4])  # of t = 5
    with pytest.raises(ConfigurationError, match="at t = 5, "):
        CosineSchedule(step_variance=4.01 / largest)
    assert CosineSchedule(step_variance=3.99 / largest).num_levels == 6


def test_the_ends_of_a_fine_ladder_are_its_first_and_last_level() -> None:
    schedule = LinearSchedule(10, 0.01, 0.3)
    table = _table(schedule).logsnr_t
    assert (schedule.logsnr_max, schedule.logsnr_min) == (float(table[0]), float(table[-1]))
    assert schedule.logsnr_max == pytest.approx(math.log(0.99 / 0.01))


def test_coefficients_are_where_t_is() -> None:
    """On a device that holds no numbers; and the CPU's are still there."""
    schedule = CosineSchedule()
    away = schedule.transition(torch.ones(3, dtype=torch.int64, device="meta"), torch.float64)
    assert all(getattr(away, field.name).device.type == "meta" for field in fields(Transition))
    here = schedule.transition(torch.ones(3, dtype=torch.int64), torch.float64)
    assert torch.equal(here.alpha_t, _table(schedule).alpha_t[[0, 0, 0]])
