"""The oracles against densities found another way: by quadrature, by symmetry, by limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.types import Transition
from modules.energies.analytic import GaussianEnergy, MixtureEnergy
from modules.energies.base import Energy
from modules.schedules.cosine import CosineSchedule

NUM_LEVELS = 6


def _transition(t: int, size: int) -> Transition:
    return CosineSchedule(NUM_LEVELS).transition(torch.full((size,), t), torch.float64)


def _density(energy: Energy, y: Tensor, t: int) -> Tensor:
    """exp(-E/energy_scale) of points y (n, d)."""
    transition = _transition(t, len(y))
    return torch.exp(-energy(y, transition) / transition.energy_scale)


ONE_D = {
    "gaussian": (GaussianEnergy((1,), 0.4, 0.25), [0.4], [0.25], [1.0]),
    "mixture": (
        MixtureEnergy([[-0.8], [0.1], [0.9]], [0.02, 0.1, 0.05], [1.0, 2.0, 1.0]),
        [-0.8, 0.1, 0.9],
        [0.02, 0.1, 0.05],
        [0.25, 0.5, 0.25],
    ),
}


@pytest.mark.parametrize("t", [1, 3, NUM_LEVELS])
@pytest.mark.parametrize("name", ONE_D)
def test_density_is_the_data_smoothed_by_the_forward_process(name: str, t: int) -> None:
    """p(y) as the integral over x of p(x) p(y|x), on a grid of x, y = y_scale (alpha_s x + sigma_s ε)."""
    energy, means, variances, weights = ONE_D[name]
    x = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    data = sum(
        w * torch.distributions.Normal(m, v**0.5).log_prob(x).exp()
        for m, v, w in zip(means, variances, weights, strict=True)
    )
    c = _transition(t, 1)
    factor = 1.0 if t == NUM_LEVELS else c.alpha_ts.item()
    y = torch.linspace(-2, 2, 41, dtype=torch.float64)
    given_x = torch.distributions.Normal(factor * c.alpha_s * x[:, None], factor * c.sigma_s)
    wanted = torch.trapezoid(data[:, None] * given_x.log_prob(y).exp(), x, dim=0)
    torch.testing.assert_close(_density(energy, y[:, None], t), wanted, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("t", [1, NUM_LEVELS])
def test_density_in_the_plane_integrates_to_one(t: int) -> None:
    energy = MixtureEnergy([[-0.7, 0.5], [0.6, 0.0]], [[0.05, 0.2], [0.1, 0.03]], weights=[0.3, 0.7])
    axis = torch.linspace(-5, 5, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mass = _density(energy, grid, t).sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("t", [1, 2, NUM_LEVELS])
def test_standard_normal_data_stay_standard_normal(t: int) -> None:
    """x_s ~ N(0, I) at every level, so ∇E = energy_scale · y/y_scale², whatever the level."""
    y = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    transition = _transition(t, 5)
    y.requires_grad_()
    (grad,) = torch.autograd.grad(GaussianEnergy((3, 4, 4))(y, transition).sum(), y)
    factor = transition.energy_scale / (1.0 if t == NUM_LEVELS else transition.alpha_ts**2)
    torch.testing.assert_close(grad, factor.reshape(-1, 1, 1, 1) * y.detach(), rtol=1e-9, atol=0)


def test_components_and_axes_combine() -> None:
    y = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    transition = CosineSchedule(NUM_LEVELS).transition(torch.arange(1, 7), torch.float64)
    whole = GaussianEnergy((2,), [0.3, -0.2], [0.5, 2.0])(y, transition)
    # independent axes: energies add
    first = GaussianEnergy((1,), 0.3, 0.5)(y[:, :1], transition)
    second = GaussianEnergy((1,), -0.2, 2.0)(y[:, 1:], transition)
    torch.testing.assert_close(whole, first + second)
    # a mixture of one, and of equals, is that Gaussian
    for means in ([[0.3, -0.2]], [[0.3, -0.2]] * 3):
        mixture = MixtureEnergy(means, [[0.5, 2.0]] * len(means))
        torch.testing.assert_close(mixture(y, transition), whole)
    # a component without mass changes nothing
    lopsided = MixtureEnergy([[0.3, -0.2], [5.0, 5.0]], [[0.5, 2.0]] * 2, [1.0, 1e-300])
    torch.testing.assert_close(lopsided(y, transition), whole)


def test_per_pixel_mean_and_image_mixture() -> None:
    """The energy is least at alpha_s · mean, in y coordinates, for images too."""
    mean = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 2, 2)
    transition = _transition(2, 1)
    y = (transition.alpha_ts * transition.alpha_s * mean)[None].requires_grad_()
    for energy in (GaussianEnergy((3, 2, 2), mean, 0.3), MixtureEnergy(mean[None], 0.3)):
        assert energy.shape == (3, 2, 2)
        (grad,) = torch.autograd.grad(energy(y, transition).sum(), y)
        assert grad.abs().max() < 1e-12


def test_far_from_the_data_the_mixture_stays_finite() -> None:
    energy = MixtureEnergy([[-1.0], [1.0]], 1e-4)
    y = torch.tensor([[50.0], [-50.0]], dtype=torch.float64).requires_grad_()
    (grad,) = torch.autograd.grad(energy(y, _transition(1, 2)).sum(), y)
    assert torch.isfinite(grad).all() and grad[0] > 0 > grad[1]


def test_scale_is_the_transitions() -> None:
    """Another energy_scale gives the same density."""
    y = torch.tensor([[0.3]], dtype=torch.float64)
    energy, transition = GaussianEnergy((1,), 0.1, 0.4), _transition(3, 1)
    doubled = replace(transition, energy_scale=2 * transition.energy_scale)
    torch.testing.assert_close(energy(y, doubled), 2 * energy(y, transition))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianEnergy((2,), 0.0, 0.0), ["variance", "above 0"]),
        (lambda: GaussianEnergy((2,), [1.0, 2.0, 3.0]), ["mean", "(3,)", "(2,)"]),
        (lambda: GaussianEnergy((2,), "zero"), ["mean", "number"]),
        (lambda: MixtureEnergy([[1.0, 2.0], [3.0]]), ["means", "lists"]),
        (lambda: MixtureEnergy([1.0, 2.0]), ["means"]),
        (lambda: MixtureEnergy([[1.0], [2.0]], weights=[1.0]), ["weights", "2 means"]),
        (lambda: MixtureEnergy([[1.0], [2.0]], weights=[1.0, -1.0]), ["weights", "above 0"]),
        (lambda: MixtureEnergy([[1.0], [2.0]], [0.1, 0.1, 0.1]), ["variances", "(3, 1)"]),
        (lambda: MixtureEnergy([[1.0], [2.0]], -1.0), ["variances", "above 0"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
