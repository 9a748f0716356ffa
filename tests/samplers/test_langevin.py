"""Langevin dynamics: closed forms of its steps and of the law it ends in (spec §3)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.tensors import sum_per_sample
from modules.energies.recovery import RecoveryPotential
from modules.samplers.langevin import STEP_FACTORS, Langevin
from modules.schedules.cosine import CosineSchedule

torch.set_num_threads(1)


class Quadratic:
    """U = (y - c)ᵀ Λ (y - c)/2 of points (n, d)."""

    def __init__(self, precision: Tensor, center: float = 0.0) -> None:
        self.precision, self.center = precision.double(), center

    def __call__(self, y: Tensor) -> Tensor:
        return 0.5 * sum_per_sample((y - self.center) * self.grad(y))

    def grad(self, y: Tensor) -> Tensor:
        return (y - self.center) @ self.precision

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self(y), self.grad(y)


def _noise(count: int, seed: int = 0) -> Noise:
    return Noise(seed, torch.arange(count), dtype=torch.float64)


def _steps(count: int, size: float) -> Tensor:
    return torch.full((count,), size, dtype=torch.float64)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.4])
def test_a_corrected_step_keeps_a_gaussian_of_its_width(factor: float) -> None:
    """Variance s² stays s² from the first step on; of a quarter of the precision it ends below.

    One step from the law itself, 20,000 chains; and 40 steps, where (1 - m²/4)/(1 - m²λs²/4) of it is left.
    """
    count, s = 20_000, 0.2
    precision = torch.tensor([25.0, 6.25]).double()
    sampler = Langevin(1, step_factor=factor, corrected=True)
    start = _noise(count, 1).normal("start", (2,)) / precision.sqrt()
    potential, steps = Quadratic(torch.diag(precision)), _steps(count, s)
    y = sampler.sample(potential, start, steps, _noise(count)).y
    assert abs(25 * y[:, 0].var() - 1) < 4 * math.sqrt(2 / count)
    y = Langevin(40, step_factor=factor, corrected=True).sample(potential, start, steps, _noise(count)).y
    wanted = (1 - factor**2 / 4) / (1 - factor**2 / 16) / precision[1]
    assert abs(25 * y[:, 0].var() - 1) < 4 * math.sqrt(2 / count)
    assert abs(y[:, 1].var() / wanted - 1) < 4 * math.sqrt(2 / count)


def test_fewer_steps_are_corrected_too() -> None:
    assert Langevin(10, step_factor=0.5, corrected=True).with_steps(5).corrected
    with pytest.raises(ConfigurationError, match=r"step_factor, where corrected, must be below 2, got 2.4"):
        Langevin(10, step_factor=1.2, corrected=True).with_steps(5, lengthen=True)


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_stationary_variance(scale: float) -> None:
    """η²/(λ(1 - s²λ/4)), at s²λ of 0.04, 0.4, 1 and 2, where the last factor is 1.01, 1.11, 1.33 and 2.

    10,000 chains; 4 standard errors are 6% of the variance.
    """
    count, s = 10_000, 0.2
    precision = torch.tensor([1.0, 10.0, 25.0, 50.0]).double()
    sampler = Langevin(300, noise_scale=scale)
    start = torch.ones(count, 4, dtype=torch.float64)
    y = sampler.sample(Quadratic(torch.diag(precision), 0.3), start, _steps(count, s), _noise(count)).y
    wanted = scale**2 / precision * torch.tensor([1 / 0.99, 1 / 0.9, 4 / 3, 2.0]).double()
    assert (y.var(0) / wanted - 1).abs().max() < 4 * math.sqrt(2 / count)
    assert ((y.mean(0) - 0.3) / (wanted / count).sqrt()).abs().max() < 4


def test_a_clamp_holds_every_step() -> None:
    """Pulled by 0.4 a step towards 10, an element stops at the bound, and noise sends it back from there."""
    far = Quadratic(torch.eye(2), 10.0)
    start = torch.tensor([[0.0, -5.0]], dtype=torch.float64)
    step = _steps(1, math.sqrt(0.08))  # of drift 0.04 (10 - y)
    ends = [Langevin(k, noise_scale=0.0, clamp=1.0).sample(far, start, step, _noise(1)).y for k in (1, 2, 9)]
    assert ends[0].tolist() == [[pytest.approx(0.4), -1.0]]
    assert ends[1].tolist() == [[pytest.approx(0.784), pytest.approx(-0.56)]]
    assert ends[2].tolist() == [[1.0, 1.0]]


def test_a_clamp_is_of_x_s_and_leaves_what_is_given() -> None:
    """At t = 5 of CDRL's ladder y is 0.59 of x_s, at the top all of it; what is given stays."""
    c = CosineSchedule().transition(torch.tensor([5, 6]), torch.float64)
    potential = RecoveryPotential(lambda y: 0 * y.sum(1), c, torch.full((2, 2), 50.0).double())
    free = torch.tensor([1.0, 0.0], dtype=torch.float64)
    start, sampler = torch.full((2, 2), 50.0).double(), Langevin(1, noise_scale=0.0, clamp=2.0)
    y = sampler.sample(potential, start, c.step_size, _noise(2), free).y
    assert c.alpha_ts[0].item() == pytest.approx(0.59, abs=1e-3)
    torch.testing.assert_close(y[:, 0], torch.stack([2 * c.alpha_ts[0], torch.tensor(2.0).double()]))
    assert y[:, 1].tolist() == [50.0, 50.0]


def test_without_noise_it_is_gradient_descent() -> None:
    """Every step shrinks the distance to the minimum by 1 - s²λ/2 = 0.9."""
    chain = Langevin(7, noise_scale=0.0).sample(
        Quadratic(torch.tensor([[5.0]]), 2.0), torch.tensor([[12.0]]).double(), _steps(1, 0.2), _noise(1)
    )
    assert chain.y.item() == pytest.approx(2 + 10 * 0.9**7, rel=1e-12)


def test_without_force_it_is_a_random_walk() -> None:
    """Steps are independent: after K of them the variance is K m²s²η²."""
    count = 20_000
    flat = Quadratic(torch.zeros(1, 1))
    sampler = Langevin(25, noise_scale=0.99, step_factor=2.0)
    y = sampler.sample(flat, torch.zeros(count, 1).double(), _steps(count, 0.1), _noise(count)).y
    assert y.var().item() == pytest.approx(25 * 0.04 * 0.9801, rel=4 * math.sqrt(2 / count))


def test_no_steps() -> None:
    start = torch.randn(3, 2, 4, 4)
    chain = Langevin(0).sample(Quadratic(torch.eye(1)), start, torch.ones(3), Noise(0, torch.arange(3)))
    assert torch.equal(chain.y, start)
    assert torch.equal(chain.grad_norm, torch.zeros(3)) and torch.equal(chain.displacement, torch.zeros(3))


def test_step_factor_multiplies_the_step() -> None:
    potential, start = Quadratic(torch.eye(2)), torch.ones(5, 2).double()
    one = Langevin(4, step_factor=3.0).sample(potential, start, _steps(5, 0.1), _noise(5))
    other = Langevin(4).sample(potential, start, _steps(5, 3.0 * 0.1), _noise(5))
    assert torch.equal(one.y, other.y)


def test_long_drifts_are_shortened_to_their_limit_and_short_ones_are_left() -> None:
    """U = 5 y², s²/2 = 0.05: drifts of half of y, 4, 0.5 and 0.1 in each of two elements; limit 0.5."""
    start = torch.tensor([[8.0, -8.0], [1.0, 1.0], [0.2, -0.2]]).double()
    potential, size = Quadratic(10 * torch.eye(2)), _steps(3, 0.1**0.5)
    limited = Langevin(1, noise_scale=0.0, max_drift=0.5)
    y = limited.sample(potential, start, size, _noise(3)).y
    wanted = torch.tensor([[7.5, -7.5], [0.5, 0.5], [0.1, -0.1]]).double()
    torch.testing.assert_close(y, wanted, rtol=1e-12, atol=1e-12)
    # its direction stays: (3, 4)/5 times 0.5 √2
    y = limited.sample(potential, torch.tensor([[6.0, 8.0]]).double(), size[:1], _noise(1)).y
    length = 0.5 * math.sqrt(2)
    torch.testing.assert_close(y, torch.tensor([[6 - 0.6 * length, 8 - 0.8 * length]]).double())
    # a limit that is never reached changes nothing, noise isn't limited
    plain, free = Langevin(5), Langevin(5, max_drift=1e6)
    one, other = (s.sample(potential, start, size, _noise(3)).y for s in (plain, free))
    assert torch.equal(one, other)
    flat = Quadratic(torch.zeros(2, 2))
    moved = Langevin(1, max_drift=1e-6).sample(flat, start, _steps(3, 10.0), _noise(3)).y - start
    assert moved.abs().max() > 1


def test_each_sample_has_its_own_step_and_noise() -> None:
    potential, start = Quadratic(torch.eye(2)), torch.ones(3, 2).double()
    sizes, noise = torch.tensor([0.1, 0.5, 0.0]).double(), _noise(3)
    together = Langevin(3).sample(potential, start, sizes, noise)
    for i in range(3):
        row = Noise(0, torch.tensor([i]), dtype=torch.float64)
        alone = Langevin(3).sample(potential, start[i : i + 1], sizes[i : i + 1], row)
        torch.testing.assert_close(alone.y, together.y[i : i + 1], rtol=1e-14, atol=0)
    assert torch.equal(together.y[2], start[2]) and not torch.equal(together.y[0], start[0])


def test_given_elements_stay_and_the_others_move_as_ever() -> None:
    """With no coupling between elements the free ones can't tell that the others are held."""
    start = torch.linspace(-1, 1, 24).double().reshape(2, 12)
    free = (torch.arange(12) % 3 > 0).double()
    potential = Quadratic(torch.eye(12))
    held = Langevin(5).sample(potential, start, _steps(2, 0.3), _noise(2), free=free)
    whole = Langevin(5).sample(potential, start, _steps(2, 0.3), _noise(2))
    moves = free.bool()
    assert torch.equal(held.y[:, ~moves], start[:, ~moves])
    assert torch.equal(held.y[:, moves], whole.y[:, moves])
    nothing = Langevin(5).sample(potential, start, _steps(2, 0.3), _noise(2), free=torch.zeros(1).double())
    assert torch.equal(nothing.y, start)


def test_free_elements_sample_their_law_given_the_others() -> None:
    """Precision ((2, 1.2), (1.2, 1)), y₂ = 1.5 held: y₁ ~ N(-0.9, 1/2), times 1/(1 - s²·2/4)."""
    count, s = 20_000, 0.3
    potential = Quadratic(torch.tensor([[2.0, 1.2], [1.2, 1.0]]))
    start = torch.tensor([3.0, 1.5]).double().expand(count, 2)
    free = torch.tensor([1.0, 0.0]).double()
    y = Langevin(150).sample(potential, start, _steps(count, s), _noise(count), free=free).y
    assert (y[:, 1] == 1.5).all()
    variance = 0.5 / (1 - 0.045)
    assert y[:, 0].mean().item() == pytest.approx(-0.9, abs=4 * math.sqrt(variance / count))
    assert y[:, 0].var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / count))


def test_figures_of_the_chain() -> None:
    """U = 5 y² on 2x2 images, no noise, s²/2 = 0.05: y halves. 4 → 2 → 1, the last gradient is 20 each."""
    start = torch.full((1, 1, 2, 2), 4.0)

    class Bowl(Quadratic):
        def grad(self, y: Tensor) -> Tensor:
            return 10 * y

    chain = Langevin(2, noise_scale=0.0).sample(
        Bowl(torch.eye(1)), start, torch.tensor([0.1**0.5]), Noise(0, torch.arange(1))
    )
    torch.testing.assert_close(chain.y, torch.ones(1, 1, 2, 2))
    assert chain.grad_norm.tolist() == pytest.approx([math.sqrt(4 * 20**2)])
    assert chain.displacement.tolist() == pytest.approx([3.0])


def test_the_chain_is_detached() -> None:
    start = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    for steps in (0, 2):
        chain = Langevin(steps).sample(Quadratic(torch.eye(1)), start, _steps(2, 0.1), _noise(2))
        assert not any(v.requires_grad for v in (chain.y, chain.grad_norm, chain.displacement))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Langevin(-1), ["num_steps", "at least 0", "-1"]),
        (lambda: Langevin(1.5), ["num_steps", "integer"]),
        (lambda: Langevin(noise_scale=-0.1), ["noise_scale", "at least 0"]),
        (lambda: Langevin(noise_scale="1"), ["noise_scale", "number"]),
        (lambda: Langevin(step_factor=0), ["step_factor", "above 0"]),
        (lambda: Langevin(max_drift=0), ["max_drift", "above 0"]),
        (lambda: Langevin(clamp=0), ["clamp", "above 0"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in ["Langevin", *words]), str(caught.value)


def test_a_shortened_chain_takes_longer_steps() -> None:
    """Fewer steps than before have the table's factor on top of the sampler's own; more, or none, don't."""
    sampler = Langevin(10, noise_scale=0.7, step_factor=1.5, max_drift=0.2, clamp=0.9)
    for steps, nearest in ((8, 8), (7, 8), (5, 5), (3, 3), (1, 3)):
        short = sampler.with_steps(steps, lengthen=True)
        assert (short.num_steps, short.noise_scale, short.max_drift) == (steps, 0.7, 0.2)
        assert short.clamp == 0.9
        assert short.step_factor == 1.5 * STEP_FACTORS[nearest] > 1.5
    for steps in (0, 10, 30):
        assert sampler.with_steps(steps, lengthen=True).step_factor == 1.5
