"""Metropolis-adjusted samplers have exactly the law they should, by quantiles; Langevin is off by s²."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.core.types import Chain
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.samplers.base import Sampler
from modules.samplers.hamiltonian import Hamiltonian
from modules.samplers.langevin import Langevin
from modules.samplers.underdamped import UnderdampedLangevin

torch.set_num_threads(1)

LIMIT = 1.95  # of √n sup|F_n - F|, exceeded by one true sample in a thousand (Kolmogorov 1933)


class ByAutograd:
    """A potential of points from its formula."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        self.formula = formula

    def __call__(self, y: Tensor) -> Tensor:
        return self.formula(y)

    def grad(self, y: Tensor) -> Tensor:
        return self.value_and_grad(y)[1]

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            value = self.formula(y)
            return value.detach(), torch.autograd.grad(value.sum(), y)[0]


def _normal(y: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return 0.5 * torch.special.erfc((mean - y) / (std * math.sqrt(2)))


def _distance(y: Tensor, law: Callable[[Tensor], Tensor]) -> float:
    """√n sup|F_n - F| of numbers (n,)."""
    ordered, n = law(y.sort().values), len(y)
    steps = torch.arange(n + 1, dtype=y.dtype) / n
    return math.sqrt(n) * max(float((ordered - steps[:-1]).max()), float((steps[1:] - ordered).max()))


GAUSSIAN = ByAutograd(lambda y: 0.5 * ((y - 0.5) / torch.tensor([1.0, 0.7]).double()).square().sum(1))
MIXTURE = ByAutograd(  # 0.3 N(-1.5, 0.6²) + 0.7 N(1, 1)
    lambda y: (
        -torch.logaddexp(
            math.log(0.3 / 0.6) - (y[:, 0] + 1.5).square() / (2 * 0.36),
            math.log(0.7) - 0.5 * (y[:, 0] - 1).square(),
        )
    )
)
BANANA = ByAutograd(  # y₁ ~ N(0, 1), y₂ ~ N(y₁²/2, 1) given it
    lambda y: 0.5 * y[:, 0].square() + 0.5 * (y[:, 1] - 0.5 * y[:, 0].square()).square()
)


def _run(sampler: Sampler, potential: ByAutograd, size: float, count: int, dim: int, seed: int = 0) -> Chain:
    """Independent chains from N(0, 1)."""
    noise = Noise(seed, torch.arange(count), stream="metropolis", dtype=torch.float64)
    start = noise.normal("start", (dim,))
    return sampler.sample(potential, start, torch.full((count,), size, dtype=torch.float64), noise)


ADJUSTED: dict[str, Callable[[int], Sampler]] = {
    "langevin": lambda steps: AdjustedLangevin(steps),
    "hamiltonian": lambda steps: Hamiltonian(steps // 2, num_leapfrog=3),
    "underdamped": lambda steps: UnderdampedLangevin(steps),
}
adjusted = pytest.mark.parametrize("make", ADJUSTED.values(), ids=ADJUSTED)


@adjusted
def test_a_gaussian_by_quantiles(make):
    """1e5 draws at s = 0.8, where Langevin's variance is 19% too large."""
    y = _run(make(30), GAUSSIAN, 0.8, 100_000, 2).y
    assert _distance(y[:, 0], lambda v: _normal(v, 0.5)) < LIMIT
    assert _distance(y[:, 1], lambda v: _normal(v, 0.5, 0.7)) < LIMIT


def test_langevin_fails_the_same_test():
    y = _run(Langevin(30), GAUSSIAN, 0.8, 100_000, 2).y
    assert _distance(y[:, 0], lambda v: _normal(v, 0.5)) > 2 * LIMIT
    assert _distance(y[:, 1], lambda v: _normal(v, 0.5, 0.7)) > 2 * LIMIT


@adjusted
def test_a_mixture_by_quantiles(make):
    y = _run(make(100), MIXTURE, 0.9, 20_000, 1).y[:, 0]
    assert _distance(y, lambda v: 0.3 * _normal(v, -1.5, 0.6) + 0.7 * _normal(v, 1.0)) < LIMIT
    assert _distance(y, lambda v: 0.33 * _normal(v, -1.5, 0.6) + 0.67 * _normal(v, 1.0)) > LIMIT


@adjusted
def test_a_banana_by_quantiles(make):
    y = _run(make(100), BANANA, 0.5, 20_000, 2).y
    assert _distance(y[:, 0], _normal) < LIMIT
    assert _distance(y[:, 1] - 0.5 * y[:, 0] ** 2, _normal) < LIMIT


def test_the_bias_of_langevin_falls_linearly_in_s_squared():
    """Of the variance of N(0, 1): its excess over s² is the same at s² = 0.2, 0.4 and 0.8, near 1/4."""
    bowl, rates = ByAutograd(lambda y: 0.5 * y.square().sum(1)), []
    for s_squared in (0.2, 0.4, 0.8):
        noise = Noise(0, torch.arange(2_500), stream="bias", dtype=torch.float64)
        # four elements that know nothing of each other: 10,000 chains at the price of 2,500 rows of noise
        y, size = noise.normal("start", (4,)), torch.full((2_500,), s_squared**0.5, dtype=torch.float64)
        total, once = 0.0, Langevin(10)
        for block in range(50):
            y = once.sample(bowl, y, size, noise.child(str(block))).y
            total += float(y.square().mean()) / 40 if block >= 10 else 0.0
        rates.append((total - 1) / s_squared)  # a standard error of 0.003/s² or less
    assert all(0.22 < rate < 0.34 for rate in rates), rates


@adjusted
def test_given_elements_stay_and_the_others_have_their_law_given_them(make):
    """Precision ((2, 1.2), (1.2, 1)), y₂ = 1.5 held: y₁ ~ N(-0.9, 1/2)."""
    count = 20_000
    joint = ByAutograd(lambda y: y[:, 0] ** 2 + 1.2 * y[:, 0] * y[:, 1] + 0.5 * y[:, 1] ** 2)
    noise = Noise(0, torch.arange(count), dtype=torch.float64)
    start = torch.tensor([3.0, 1.5]).double().expand(count, 2)
    size, free = torch.full((count,), 0.6, dtype=torch.float64), torch.tensor([1.0, 0.0]).double()
    chain = make(60).sample(joint, start, size, noise, free=free)
    assert (chain.y[:, 1] == 1.5).all()
    assert _distance(chain.y[:, 0], lambda v: _normal(v, -0.9, 0.5**0.5)) < LIMIT


@pytest.mark.parametrize(
    ("make", "target"),
    [
        (lambda warm: AdjustedLangevin(50, num_warmup=warm), 0.574),
        (lambda warm: Hamiltonian(50, num_warmup=warm), 0.8),
        (lambda warm: UnderdampedLangevin(50, num_warmup=warm), 0.9),
    ],
)
def test_the_warm_up_finds_the_step_size_and_then_it_is_fixed(make, target):
    """From steps 20 times too short and 5 times too long: the target's acceptance afterwards."""
    for size in (0.05, 5.0):
        before, after = (_run(make(warm), GAUSSIAN, size, 500, 2) for warm in (0, 300))
        assert before.acceptance is not None and after.acceptance is not None and after.step_size is not None
        assert abs(float(before.acceptance.mean()) - target) > 0.09
        assert abs(float(after.acceptance.mean()) - target) < 0.04
        assert torch.equal(before.step_size, torch.full((500,), size, dtype=torch.float64))
        # a settled sampler at those step sizes has the same acceptance, and leaves them
        noise = Noise(1, torch.arange(500), dtype=torch.float64)
        more = make(300).settled().sample(GAUSSIAN, after.y, after.step_size, noise)
        assert abs(float(more.acceptance.mean()) - target) < 0.04
        assert torch.equal(more.step_size, after.step_size)


def test_adjusted_langevin_proposes_langevins_step():
    """A step so short that all are taken: the same law of moves, its drift by hand."""
    start = torch.tensor([[2.0, -1.0]]).double().expand(4_000, 2)
    noise = Noise(0, torch.arange(4_000), dtype=torch.float64)
    size = torch.full((4_000,), 0.02, dtype=torch.float64)
    chain = AdjustedLangevin(1).sample(GAUSSIAN, start, size, noise)
    z = noise.normal("momentum", (2,))
    drift = 0.5 * 0.02**2 * GAUSSIAN.grad(start)
    taken = (chain.y != start).any(1)
    assert taken.double().mean() > 0.99
    torch.testing.assert_close(chain.y[taken], (start - drift + 0.02 * z)[taken], rtol=1e-12, atol=1e-12)


@adjusted
def test_what_a_chain_tells_of_itself(make):
    """∇U where its last step began, how far it came, refused steps too, and the share after the warm-up."""
    count = 500
    noise = Noise(0, torch.arange(count), dtype=torch.float64)
    start, size = noise.normal("start", (2,)), torch.full((count,), 1.3, dtype=torch.float64)
    sampler = make(2).with_steps(1)
    sampler.step_factor = 0.8
    chain = sampler.sample(GAUSSIAN, start, size, noise)
    torch.testing.assert_close(chain.grad_norm, GAUSSIAN.grad(start).norm(dim=1))
    torch.testing.assert_close(chain.displacement, (chain.y - start).square().mean(1).sqrt())
    moved = (chain.y != start).any(1)
    assert torch.equal(chain.acceptance, moved.double()) and 0 < moved.sum() < count
    assert torch.equal(chain.step_size, size)
    # steps of the warm-up are not counted
    sampler.num_warmup = 3
    chain = sampler.sample(GAUSSIAN, start, size, noise)
    assert set(chain.acceptance.tolist()) == {0.0, 1.0}


def test_energy_is_kept_by_hamiltons_motion():
    """Without friction's refreshment nearly all is accepted at a small step, and the error falls as h²."""
    shares = [float(_run(Hamiltonian(50, 5, f), GAUSSIAN, 0.5, 2_000, 2).acceptance.mean()) for f in (2, 1)]
    refused = [1 - share for share in shares]
    assert refused[1] < refused[0] / 2 and refused[1] < 0.05


def test_what_is_not_a_number_is_refused():
    """A wall at 0: the chain stays above it, where it has the half normal law."""
    wall = ByAutograd(lambda y: 0.5 * y[:, 0] ** 2 + 0 * y[:, 0].sqrt())  # not a number below 0
    noise = Noise(0, torch.arange(20_000), dtype=torch.float64)
    start, size = torch.full((20_000, 1), 1.0).double(), torch.full((20_000,), 0.7).double()
    for make in ADJUSTED.values():
        y = make(60).sample(wall, start, size, noise).y[:, 0]
        assert (y > 0).all() and _distance(y, lambda v: 2 * _normal(v) - 1) < LIMIT


@adjusted
def test_no_steps(make):
    start = torch.randn(3, 2)
    chain = make(0).sample(
        GAUSSIAN, start.double(), torch.ones(3).double(), Noise(0, torch.arange(3), dtype=torch.float64)
    )
    assert torch.equal(chain.y, start.double()) and chain.acceptance is not None
    assert chain.acceptance.isnan().all() and (chain.displacement == 0).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AdjustedLangevin(-1), ["AdjustedLangevin.num_steps", "at least 0"]),
        (lambda: AdjustedLangevin(target=1.0), ["AdjustedLangevin.target", "below 1"]),
        (lambda: Hamiltonian(num_leapfrog=0), ["Hamiltonian.num_leapfrog", "at least 1"]),
        (lambda: Hamiltonian(jitter=1.0), ["Hamiltonian.jitter", "below 1"]),
        (lambda: Hamiltonian(num_warmup=-2), ["Hamiltonian.num_warmup", "at least 0"]),
        (lambda: UnderdampedLangevin(friction=0), ["UnderdampedLangevin.friction", "above 0"]),
        (lambda: UnderdampedLangevin(step_factor=0), ["UnderdampedLangevin.step_factor", "above 0"]),
    ],
)
def test_faults_are_named(make, words: list[str]):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)


KEPT = {
    Langevin: {
        "num_steps": 7,
        "noise_scale": 0.9,
        "step_factor": 0.7,
        "compile": None,
        "max_drift": 0.3,
        "clamp": 1.2,
        "corrected": True,
    },
    AdjustedLangevin: {"num_steps": 7, "step_factor": 0.7, "num_warmup": 3, "target": 0.6},
    Hamiltonian: {
        "num_steps": 7,
        "num_leapfrog": 4,
        "step_factor": 0.7,
        "jitter": 0.1,
        "num_warmup": 3,
        "target": 0.6,
    },
    UnderdampedLangevin: {
        "num_steps": 7,
        "friction": 0.4,
        "step_factor": 0.7,
        "num_warmup": 3,
        "target": 0.6,
    },
}


@pytest.mark.parametrize("kind", KEPT)
def test_a_sampler_keeps_all_but_its_number_of_steps(kind) -> None:
    sampler = kind(**KEPT[kind])
    assert arguments_of(sampler, "") == KEPT[kind]
    assert arguments_of(sampler.with_steps(9), "") == {**KEPT[kind], "num_steps": 9}
    assert arguments_of(sampler.settled(), "") == {**KEPT[kind]} | (
        {"num_warmup": 0} if "num_warmup" in KEPT[kind] else {}
    )
    assert arguments_of(sampler, "") == KEPT[kind]
    untied = {"corrected": False} if "corrected" in KEPT[kind] else {}
    assert arguments_of(sampler.untied(), "") == KEPT[kind] | untied


def test_what_is_not_set_is_as_documented():
    """Step sizes as they are, no warm-up; the targets of Roberts and Rosenthal, and of long trajectories."""
    plain = {"step_factor": 1.0, "num_warmup": 0}
    assert arguments_of(AdjustedLangevin(), "") == {**plain, "num_steps": 15, "target": 0.574}
    assert arguments_of(UnderdampedLangevin(), "") == {
        **plain,
        "num_steps": 15,
        "target": 0.9,
        "friction": 1.0,
    }
    assert arguments_of(Hamiltonian(), "") == {
        **plain,
        "num_steps": 5,
        "num_leapfrog": 5,
        "jitter": 0.2,
        "target": 0.8,
    }
    assert list(arguments_of(Langevin(), "").values()) == [15, 1.0, 1.0, None, None, None, False]


def test_friction_is_measured_in_steps():
    """κ = e^{-γm} of the momentum is left: of γ = 2 at a factor of ½ and of 1, e⁻¹ and e⁻²."""
    factors = torch.tensor([0.5, 1.0]).double()
    kept = UnderdampedLangevin(friction=2.0).persistence(factors)
    assert kept.tolist() == pytest.approx([math.exp(-1), math.exp(-2)])
    for fresh in (AdjustedLangevin(), Hamiltonian()):
        assert fresh.persistence(factors).tolist() == [0.0, 0.0]


def test_a_step_keeps_of_its_first_momentum_what_friction_leaves():
    """Where nothing pulls: y + h(κp + √(1-κ²) z), κ = e^{-γm} whatever the step size, p and z ~ N(0, I)."""
    flat = ByAutograd(lambda y: 0 * y.sum(1))
    noise = Noise(0, torch.arange(4_000), dtype=torch.float64)
    start, size = noise.normal("start", (2,)), torch.full((4_000,), 0.3).double()
    chain = UnderdampedLangevin(1, friction=2.0, step_factor=0.5).sample(flat, start, size, noise)
    p, z = noise.normal("first momentum", (2,)), noise.normal("momentum", (2,))
    assert abs(float(p.std()) - 1) < 0.05 and abs(float((p * z).mean())) < 0.05
    kept = math.exp(-1)
    torch.testing.assert_close(chain.y, start + 0.5 * 0.3 * (kept * p + math.sqrt(1 - kept**2) * z))


@pytest.mark.parametrize(("target", "rate"), [(0.5, 0.5), (0.8, 0.3125)])
@pytest.mark.parametrize("warm", [4, 5])
@pytest.mark.parametrize("fall", [0.0, 3.0])
def test_a_warm_up_that_is_never_refused_by_hand(target: float, rate: float, warm: int, fall: float):
    """Where nothing pulls all is taken, and ln factor grows by k^-0.6 (1 - a)/(4a(1 - a)), a the target.

    No chance is above 1, however much is gained.

    Afterwards it is the mean over the second half, of an odd number the longer part of it.
    """
    gained = itertools.count()
    flat = ByAutograd(lambda y: 0 * y.sum(1) - fall * next(gained))
    noise = Noise(0, torch.arange(3), dtype=torch.float64)
    size = torch.tensor([0.1, 0.2, 3.0]).double()
    sampler = AdjustedLangevin(2, step_factor=2.0, num_warmup=warm, target=target)
    chain = sampler.sample(flat, noise.normal("start", (2,)), size, noise)
    logs = [rate * sum(j**-0.6 for j in range(1, k + 1)) for k in range(1, warm + 1)]
    wanted = math.exp(sum(logs[2:]) / (warm - 2))
    torch.testing.assert_close(chain.step_size, wanted * size)
    assert chain.acceptance.tolist() == [1, 1, 1]
    # the steps are step_factor times that: of each step, its length over that of its momentum
    z = [noise.normal("momentum", (2,), draw=k) for k in range(warm + 2)]
    factors = [1.0, *(math.exp(log) for log in logs[:-1]), wanted, wanted]
    moved = sum(2 * factor * size[:, None] * momentum for factor, momentum in zip(factors, z, strict=True))
    torch.testing.assert_close(chain.y, noise.normal("start", (2,)) + moved)
