"""Ladders of energies that know all levels: what is picked, where a level lies, one level alone (§9, §13)."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from modules.core.types import Transition
from modules.energies.analytic import GaussianEnergy
from modules.energies.recovery import RecoveryPotential
from modules.schedules.base import Schedule
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.levels import level, pair
from modules.schedules.linear import LinearSchedule
from tests.gaussian_oracle import ENERGY, MEAN, VARIANCE

torch.set_num_threads(1)


def _table(schedule: Schedule, dtype: torch.dtype = torch.float64) -> Transition:
    return schedule.transition(torch.arange(1, schedule.num_levels + 1), dtype)


@pytest.mark.parametrize("num_levels", [1, 6, 25])
def test_the_continuous_ladder_is_the_cosine(num_levels: int) -> None:
    ours = _table(ContinuousSchedule(num_levels, 7.0, -4.0))
    published = _table(CosineSchedule(num_levels, 7.0, -4.0))
    for name in ("alpha_t", "alpha_s", "sigma_t", "sigma_s", "alpha_ts", "sigma_ts", "posterior_var"):
        assert torch.equal(getattr(ours, name), getattr(published, name)), name
    assert torch.equal(ours.logsnr_t, published.logsnr_t)


def test_coordinates_are_those_of_x_s() -> None:
    c = _table(ContinuousSchedule())
    assert (c.y_scale == 1).all() and (c.loss_weight == 1).all() and not c.is_top.any()
    assert torch.equal(c.energy_scale, c.sigma_s)


@pytest.mark.parametrize("num_levels", [6, 25])
def test_steps_are_as_wide_as_the_conditional(num_levels: int) -> None:
    """m√v with m = 1: the deviation of x_s given x_t where p_s is N(x; 0, σ̄_s²), at every level.

    Found from the potential of the exact energy of a single point: its curvature is 1/v.
    """
    point = GaussianEnergy((1,), 0.0, 1e-12)
    c = _table(ContinuousSchedule(num_levels))
    potential = RecoveryPotential(point.at(c), c, torch.full((num_levels, 1), 0.7).double())
    near, far = (potential.grad(torch.full((num_levels, 1), x).double()) for x in (0.0, 1.0))
    torch.testing.assert_close(c.step_size, (far - near)[:, 0].rsqrt(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "schedule", [ContinuousSchedule(6), LinearSchedule(12, 0.01, 0.3)], ids=["continuous", "linear"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_level_lies_in_its_transition(schedule, dtype: torch.dtype) -> None:
    """λ_t <= λ < λ_s; the ends of the ladder and beyond belong to the first and the last."""
    c = _table(schedule, dtype)
    every = torch.arange(1, schedule.num_levels + 1)
    assert torch.equal(schedule.transition_of(c.logsnr_t), every)
    inside = c.logsnr_t + 0.3 * (c.logsnr_s - c.logsnr_t)
    inside[c.logsnr_s.isinf()] = c.logsnr_t[c.logsnr_s.isinf()] + 1
    assert torch.equal(schedule.transition_of(inside), every)
    beyond = torch.tensor([50.0, -50.0], dtype=dtype)
    assert schedule.transition_of(beyond).tolist() == [1, schedule.num_levels]
    assert torch.equal(schedule.transition_of(inside.flip(0)), every.flip(0))


def test_logsnr_at_is_the_ladders() -> None:
    """u = t/T gives λ_t, whatever T: two ladders of one way meet."""
    for num_levels in (4, 9):
        c = _table(ContinuousSchedule(num_levels))
        u = torch.arange(1, num_levels + 1).double() / num_levels
        torch.testing.assert_close(ContinuousSchedule(2).logsnr_at(u), c.logsnr_t, rtol=1e-9, atol=1e-9)
    ends = ContinuousSchedule(3, 8.0, -2.0).logsnr_at(torch.tensor([0.0, 1.0]).double())
    torch.testing.assert_close(ends, torch.tensor([8.0, -2.0]).double())
    # T1k's: u in ((t-1)/T, t/T] is t
    schedule = LinearSchedule(10, 0.01, 0.3)
    u = torch.tensor([1e-6, 0.0999, 0.1001, 0.95, 1.0]).double()
    assert torch.equal(schedule.logsnr_at(u), _table(schedule).logsnr_t[[0, 0, 1, 9, 9]])


def test_another_number_of_levels() -> None:
    made = ContinuousSchedule(6, 7.0, -4.0).with_levels(25)
    assert made.num_levels == 25 and made.same_as(ContinuousSchedule(25, 7.0, -4.0))
    fine = LinearSchedule(100, 1e-3, 0.1)
    few = fine.with_levels(10)
    assert few.num_levels == 10 and few.with_levels(100).same_as(fine)
    assert few.same_as(LinearSchedule(100, 1e-3, 0.1, num_used=10))
    assert (few.num_used, fine.num_used) == (10, None)  # a run's protocol tells it


@pytest.mark.parametrize("num_used", [1, 7, 50, 1000])
def test_picked_levels_keep_their_noise(num_used: int) -> None:
    """Strided: λ and ᾱ of level t are those of the fine level round(1000 t/T), the last with its own."""
    fine, few = _table(LinearSchedule()), _table(LinearSchedule(num_used=num_used))
    picked = [round(1000 * t / num_used) - 1 for t in range(1, num_used + 1)]
    assert len(set(picked)) == num_used and picked[-1] == 999
    assert torch.equal(few.alpha_t, fine.alpha_t[picked]) and torch.equal(few.sigma_t, fine.sigma_t[picked])
    assert torch.equal(few.energy_scale, few.sigma_t) and torch.equal(few.step_size, few.sigma_ts)
    assert few.alpha_s[0] == 1 and few.posterior_var[0] == 0
    torch.testing.assert_close(few.sigma_ts**2, 1 - (few.alpha_t / few.alpha_s) ** 2, rtol=1e-9, atol=1e-15)
    assert LinearSchedule(num_used=num_used).logsnr_min == LinearSchedule().logsnr_min


@pytest.mark.parametrize("logsnr", [9.8, 0.4, -5.1])
def test_one_level_alone_is_the_marginal(logsnr: float) -> None:
    """-log p(x_λ) = E/energy_scale + const, without a tether, and its derivative in λ is of p_λ.

    Gaussian data: p_λ = N(√ᾱm, ᾱv + σ̄²), by torch's own density.
    """
    levels = torch.full((3,), logsnr, dtype=torch.float64, requires_grad=True)
    c = level(levels)
    x = torch.tensor([[0.5, -1.0], [0.0, 0.2], [2.0, 0.1]], dtype=torch.float64)
    potential = RecoveryPotential(ENERGY.at(c), c, torch.full_like(x, 1e3))(x)
    alpha_bar = torch.sigmoid(levels)[:, None]
    density = torch.distributions.Normal(
        alpha_bar.sqrt() * MEAN, (alpha_bar * VARIANCE + 1 - alpha_bar).sqrt()
    )
    wanted = -density.log_prob(x).sum(1)
    torch.testing.assert_close(potential, wanted, rtol=1e-9, atol=1e-9)
    slopes = [torch.autograd.grad(v.sum(), levels, retain_graph=True)[0] for v in (potential, wanted)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-7, atol=1e-9)


def test_one_level_alone_is_between_it_and_pure_noise() -> None:
    """λ = log 3: ᾱ_s = 3/4, t has no signal, nothing is tied and steps are as wide as the noise."""
    c = level(torch.full((2,), torch.tensor(3.0).log()).double())
    wanted = {
        **dict.fromkeys(("alpha_t", "alpha_ts"), 0.0),
        **dict.fromkeys(("sigma_t", "sigma_ts", "loss_weight", "y_scale", "t"), 1.0),
        **dict.fromkeys(("sigma_s", "energy_scale", "step_size"), 0.5),
        "alpha_s": 0.75**0.5,
        "posterior_var": 0.25,
        "logsnr_t": -float("inf"),
        "logsnr_s": torch.tensor(3.0).log().item(),
        "is_top": 1.0,
    }
    assert set(wanted) == {field.name for field in fields(Transition)}
    for name, value in wanted.items():
        assert getattr(c, name).tolist() == pytest.approx([value] * 2, rel=1e-6), name
    assert c.t.dtype == torch.int64 and c.is_top.dtype == torch.bool


@pytest.mark.parametrize("num_levels", [1, 6, 25])
def test_a_pair_of_any_two_levels_is_a_ladders_transition(num_levels: int) -> None:
    """Of neighbours, by their λ alone: all that the ladder knows of them but for t."""
    c = _table(ContinuousSchedule(num_levels))
    found = pair(c.logsnr_s, c.logsnr_t)
    for field in fields(Transition):
        wanted = torch.ones_like(c.t) if field.name == "t" else getattr(c, field.name)
        torch.testing.assert_close(getattr(found, field.name), wanted, rtol=1e-9, atol=0, msg=field.name)


def test_a_pair_of_levels_that_nearly_meet_keeps_its_digits() -> None:
    """σ_t² = σ̄_t² (1 - e^{-δ}), which is δ/2 at λ = 0 for a small δ; 1 - α would have no digit left."""
    zero = torch.zeros(1, dtype=torch.float64)
    assert pair(zero + 1e-12, zero).sigma_ts.square().item() == pytest.approx(5e-13, rel=1e-3)
