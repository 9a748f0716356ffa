"""Gradients of the recovery likelihood known in closed form, and what shared noise saves (spec §5)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from modules.core.types import Transition
from modules.energies.base import Energy
from modules.initializers.copy import CopyInitializer
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from tests.gaussian_oracle import MEAN, ExactProposal
from tests.methods.recovered import Linear, batch_of, noise_of

torch.set_num_threads(1)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("num_steps", [0, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_gradient_of_a_linear_energy_is_the_difference_of_means(
    shared: bool, num_steps: int, weighted: bool
) -> None:
    """∇_θ L_f = mean w_t (y⁺ - y⁻), exactly; pairs and chain written out from spec §2, §3 and §5.

    On E = <θ, y> a Langevin step is y - θ/2 - [t < T] s²/(2σ²) (y - x_t) + s z.
    """
    count, theta = 64, [0.4, -0.1]
    schedule = SubsampledLinearSchedule()
    energy, batch, noise = Linear(theta), batch_of(count), noise_of(count)
    method = RecoveryLikelihood(
        energy,
        CopyInitializer((2,)),
        schedule,
        Langevin(num_steps),
        shared,
        energy_loss=RecoveryLikelihoodLoss(weighted),
    )
    out = method(batch, noise)
    out.losses["energy"].backward()

    t = noise.integers("t", 1, 7)
    c = schedule.transition(t, torch.float64).map(lambda v: v[:, None])
    eps, eps_step = noise.normal("eps", (2,)), noise.normal("eps_step", (2,))
    x_s = c.alpha_s * batch.image + c.sigma_s * eps
    x_t = c.alpha_t * batch.image + c.sigma_t * eps if shared else c.alpha_ts * x_s + c.sigma_ts * eps_step
    y_pos = torch.where(c.t == 6, x_s, c.alpha_ts * x_s)
    y_neg = x_t
    for k in range(num_steps):
        pull = torch.where(c.t == 6, 0.0, (y_neg - x_t) * c.step_size**2 / (2 * c.sigma_ts**2))
        z = noise.normal("langevin", (2,), draw=k)
        y_neg = y_neg - torch.tensor(theta, dtype=torch.float64) / 2 - pull + c.step_size * z
    weight = c.loss_weight if weighted else 1.0
    wanted = (weight * (y_pos - y_neg)).mean(0)
    torch.testing.assert_close(energy.theta.grad, wanted, rtol=1e-12, atol=1e-14)
    assert torch.equal(out.t, t) and wanted.abs().min() > 1e-3


class PerSample(Energy):
    """E = <a, tanh(W y + b)>, eight hidden units, with a copy of its parameters for each sample.

    One backward of a mean loss then gives the gradient of every single sample, divided by their number.
    """

    def __init__(self, count: int) -> None:
        super().__init__((2,))
        generator = torch.Generator().manual_seed(0)

        def copies(*shape: int) -> nn.Parameter:
            values = torch.randn(*shape, generator=generator, dtype=torch.float64)
            return nn.Parameter(values.expand(count, *shape).clone())

        self.weight, self.bias, self.head = copies(8, 2), copies(8), copies(8)

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        y = y.reshape(-1, len(self.weight), 1, 2)  # data, then chains' ends: two of each sample
        return (self.head * torch.tanh((self.weight * y).sum(-1) + self.bias)).sum(-1).flatten()

    def gradients(self) -> Tensor:
        """(count, 32)."""
        return len(self.weight) * torch.cat([p.grad.flatten(1) for p in self.parameters()], 1)


@pytest.mark.parametrize(("num_steps", "ratio"), [(0, 0.363), (5, 0.876), (15, 0.906)])
def test_shared_noise_has_the_same_gradient_on_average_and_less_variance(
    num_steps: int, ratio: float
) -> None:
    """Both statements of spec §5, over 100,000 draws of data, level and noise, gradient by gradient.

    The 32 mean gradients differ by at most 2.3 (K = 0), 2.4 (5) and 2.6 (15) standard errors; together, their
    correlations taken into account, by χ² = 33, 27 and 26 on 32 degrees of freedom. That is 3%, 1% and 1% of
    the gradient itself, which lies 39, 179 and 173 standard errors from zero. The total variance of shared
    noise is 0.363, 0.876 and 0.906 of independent noise's (other seeds: within 0.01): the longer the chain,
    the less its end keeps of the noise that y⁺ shares with its start.
    """
    count = 100_000
    gradients = {}
    for shared in (True, False):
        energy = PerSample(count)
        method = RecoveryLikelihood(
            energy, CopyInitializer((2,)), CosineSchedule(), Langevin(num_steps), shared
        )
        method(batch_of(count), noise_of(count)).losses["energy"].backward()
        gradients[shared] = energy.gradients()
    difference = gradients[True] - gradients[False]
    mean, covariance = difference.mean(0), torch.cov(difference.T) / count
    assert mean @ torch.linalg.solve(covariance, mean) < 62.5  # exceeded by chance once in 1000
    assert (mean.abs() / covariance.diagonal().sqrt()).max() < 4
    assert mean.norm() < 0.04 * gradients[False].mean(0).norm()
    lowered = gradients[True].var(0).sum() / gradients[False].var(0).sum()
    assert lowered.item() == pytest.approx(ratio, abs=0.02)


class Quadratic(Energy):
    """-log p = Σ λ (y - μ)²/2 with λ and μ learned, a copy of them for each sample."""

    def __init__(self, mean: Tensor, precision: Tensor, count: int) -> None:
        super().__init__((2,))
        self.mean = nn.Parameter(mean.expand(count, 2).clone())
        self.precision = nn.Parameter(precision.expand(count, 2).clone())

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        y = y.reshape(-1, *self.mean.shape)
        away = 0.5 * (self.precision * (y - self.mean) ** 2).sum(-1)
        return transition.energy_scale * away.flatten()


@pytest.mark.parametrize("shared", [True, False])
def test_gradient_vanishes_when_chains_end_like_data(shared: bool) -> None:
    """y⁻ from p(y | x_t) has the law of y⁺: the mean gradient is 0, within 4 standard errors of 10,000 draws.

    y⁻ = x_t is wider by σ_1²: the precision's gradient is then -s_1² σ_1²/2, 29 standard errors and more
    from 0.
    """
    count = 20_000
    schedule = CosineSchedule(2, logsnr_max=2.0)
    c = schedule.transition(torch.ones(1, dtype=torch.int64), torch.float64)
    precision = torch.tensor([1.5, 3.0], dtype=torch.float64)  # of any model
    for initializer in (ExactProposal(), CopyInitializer((2,))):
        energy = Quadratic(c.alpha_ts * c.alpha_s * MEAN, precision, count)
        method = RecoveryLikelihood(energy, initializer, schedule, Langevin(0), shared)
        out = method(batch_of(count), noise_of(count))
        out.losses["energy"].backward()
        grad = count * torch.cat([energy.mean.grad, energy.precision.grad], 1)[out.t == 1]
        error = grad.std(0) / math.sqrt(len(grad))
        wanted = torch.zeros(4, dtype=torch.float64)
        if isinstance(initializer, CopyInitializer):
            wanted[2:] = -(c.step_size**2) * c.sigma_ts**2 / 2
            assert (wanted[2:].abs() / error[2:]).min() > 20
        assert ((grad.mean(0) - wanted).abs() / error).max() < 4
