"""Point sets: where their mass lies, and that a point depends on seed and index alone."""

import math

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.data import Checkerboard, GaussianMixture2D, Rings

N = 40_000


def points(data):
    x, labels = data.open().rows(torch.arange(N))
    return x.double(), labels[:, 0]


def test_the_checkerboard_fills_every_other_square_evenly():
    board = Checkerboard(num_classes=8)
    x, label = points(board)
    assert x.abs().max() <= 1
    assert torch.equal(board.cell(x), label) and board.inside(x).all()
    shares = label.bincount(minlength=8) / N
    assert (shares - 1 / 8).abs().max() < 0.008  # standard error 0.0017
    # mass on a 16x16 grid of the board: 1/128 in the filled half, nothing elsewhere
    cells = ((x + 1) * 8).long().clamp(0, 15)
    mass = (cells[:, 0] * 16 + cells[:, 1]).bincount(minlength=256) / N
    assert (mass > 0).sum() == 128
    assert (mass[mass > 0] - 1 / 128).abs().max() < 5 * (1 / 128 / N) ** 0.5


def test_the_checkerboard_knows_inside_from_outside():
    board = Checkerboard(scale=1.0)
    inside = torch.tensor([[-1.5, -1.5], [-0.5, -0.5], [1.5, 1.5], [0.5, -1.5], [-1.5, 0.5]])
    outside = torch.tensor([[-0.5, -1.5], [0.5, 1.5], [2.5, 1.5], [-2.5, -2.5], [3.0, 3.0], [0.5, -2.5]])
    assert board.inside(inside).all() and not board.inside(outside).any()
    assert board.cell(outside).tolist() == [-1] * 6
    grid = torch.rand((N, 2), generator=torch.Generator().manual_seed(0)) * 4 - 2
    assert abs(board.inside(grid).float().mean() - 0.5) < 0.015
    # half the scale, half the place
    assert torch.equal(Checkerboard(scale=0.5).cell(grid / 2), board.cell(grid))


def test_the_mixture_has_its_moments():
    mixture = GaussianMixture2D(num_modes=5, radius=0.6, std=0.1, num_classes=5)
    x, label = points(mixture)
    assert mixture.means[0].tolist() == pytest.approx([0.6, 0.0])
    for mode in range(5):
        mine = x[label == mode]
        assert abs(len(mine) / N - 0.2) < 0.01
        angle = 2 * math.pi * mode / 5
        centre = torch.tensor([0.6 * math.cos(angle), 0.6 * math.sin(angle)], dtype=torch.float64)
        assert (mine.mean(0) - centre).abs().max() < 5 * 0.1 / len(mine) ** 0.5
        assert (mine.T.cov() - 0.01 * torch.eye(2)).abs().max() < 0.0008


def test_the_rings_have_their_radii():
    x, label = points(Rings(num_rings=3, std=0.02, num_classes=3))
    radius = x.norm(dim=1)
    for ring, expected in enumerate((0.3, 0.6, 0.9)):
        mine = radius[label == ring]
        assert abs(mine.mean() - expected) < 0.001 and abs(mine.std() - 0.02) < 0.001
        assert abs(len(mine) / N - 1 / 3) < 0.012
        assert x[label == ring].mean(0).abs().max() < 0.03  # all directions alike


@pytest.mark.parametrize("kind", [Checkerboard, GaussianMixture2D, Rings])
def test_a_point_depends_on_seed_and_index_alone(kind):
    examples = kind().open()
    together = examples.rows(torch.arange(100))[0]
    order = torch.tensor([70, 3, 99])
    assert torch.equal(examples.rows(order)[0], together[order])
    assert not torch.equal(kind(seed=1).open().rows(order)[0], together[order])
    assert examples.rows(order)[1].tolist() == [[-1]] * 3  # labels left out
    assert len(examples) == 2**20 and len(kind(length=7).open()) == 7
    assert examples.rows(torch.tensor([2**20 - 1]))[0].shape == (1, 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Checkerboard(num_classes=4), "Checkerboard.num_classes must be 8 or 0"),
        (lambda: Checkerboard(scale=0), "Checkerboard.scale must be above 0"),
        (lambda: GaussianMixture2D(std=-1), "GaussianMixture2D.std must be above 0"),
        (lambda: GaussianMixture2D(num_modes=3, num_classes=8), "must be 3 or 0"),
        (lambda: Rings(num_rings=0), "Rings.num_rings must be at least 1"),
        (lambda: Rings(length=0), "Rings.length must be at least 1"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("make", [Checkerboard, GaussianMixture2D, lambda: Rings(std=0.06)])
def test_the_density_is_that_of_the_points(make, noise):
    """Shares of points, scaled and made noisy, in 20 x 20 squares, beside integrals of the density."""
    data, scale = make(), 0.9
    noises = torch.randn((N, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = scale * points(data)[0] + noise * noises
    side = ((torch.arange(400, dtype=torch.float64) + 0.5) / 400 - 0.5) * 2.8
    grid = torch.cartesian_prod(side, side)
    mass = data.log_density(grid, scale, noise).exp() * (2.8 / 400) ** 2
    assert float(mass.sum()) == pytest.approx(1, abs=0.01)
    expected = mass.view(20, 20, 20, 20).sum((1, 3)).flatten()
    square = ((x + 1.4) / 0.14).long().clamp(0, 19)
    share = (20 * square[:, 0] + square[:, 1]).bincount(minlength=400) / N
    error = (expected * (1 - expected).clamp(min=0) / N).sqrt()
    assert ((share - expected).abs() < 5 * error + 3e-4 + 0.02 * expected).all()


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("scale", [0.3, 2.5])
@pytest.mark.parametrize("make", [Checkerboard, GaussianMixture2D, lambda: Rings(std=0.06)])
def test_a_scale_stretches_the_density(make, scale, noise):
    """log p(s·x) = log p(x) - 2 log s in the plane, for noise that is stretched with the points."""
    data = make()
    x = points(data)[0][:200].double()
    stretched = data.log_density(scale * x, scale, scale * noise)
    torch.testing.assert_close(stretched, data.log_density(x, 1.0, noise) - 2 * math.log(scale))


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0, 3.0])
def test_noisy_rings_are_exact(noise):
    """Against a mixture of normals on a fine mesh of what a ring is before noise."""
    data, scale = Rings(std=0.05), 0.8
    quantiles = (torch.arange(201, dtype=torch.float64) + 0.5) / 201
    radii = torch.cat([scale * (radius + 0.05 * torch.special.ndtri(quantiles)) for radius in (0.45, 0.9)])
    angle = torch.arange(2000, dtype=torch.float64) * math.pi / 1000
    rho = torch.tensor([0.0, 0.05, 0.34, 0.4, 0.7, 1.4], dtype=torch.float64)
    square = (
        rho[:, None, None] ** 2 + radii[:, None] ** 2 - 2 * rho[:, None, None] * radii[:, None] * angle.cos()
    )
    log_normal = -square / (2 * noise**2) - math.log(2 * math.pi * noise**2)
    expected = log_normal.flatten(1).logsumexp(1) - math.log(len(radii) * len(angle))
    found = data.log_density(torch.stack([0 * rho, rho], 1), scale, noise)
    near = expected > -30  # beyond, 201 radii are too few
    assert near.sum() >= 3
    torch.testing.assert_close(found[near], expected[near], rtol=0, atol=0.02)


@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize("make", [Checkerboard, GaussianMixture2D, lambda: Rings(std=0.06)])
def test_far_noisier_densities_are_means_of_normals_about_the_points(make, noise):
    """Of all three, where an approximation for small noise would be off by tenths of a nat."""
    data, scale = make(), 0.8
    centres = scale * points(data)[0].double()
    x = torch.cartesian_prod(*[torch.linspace(-1, 1, 5, dtype=torch.float64)] * 2)
    log_normal = -(torch.cdist(x, centres) ** 2) / (2 * noise**2) - math.log(2 * math.pi * noise**2)
    expected = log_normal.logsumexp(1) - math.log(len(centres))
    torch.testing.assert_close(data.log_density(x, scale, noise), expected, rtol=0, atol=0.05)
