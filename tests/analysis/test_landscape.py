"""Landscapes of energies known in closed form: density on the plane, energy along a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import MultivariateNormal

from modules.analysis.landscape import Plane, lattice, line, log_density, plane, window
from modules.energies.analytic import GaussianEnergy, MixtureEnergy
from modules.guidance.none import NoGuidance
from modules.report.landscape_pictures import planes_picture, save_animation
from modules.schedules.cosine import CosineSchedule
from tests.gaussian_oracle import ENERGY, MEAN, VARIANCE

SCHEDULE, CPU = CosineSchedule(), torch.device("cpu")


def _law(level: int):
    c = SCHEDULE.transition(torch.tensor([level + 1]), torch.float64)
    covariance = torch.diag(c.alpha_s**2 * VARIANCE + c.sigma_s**2)
    return MultivariateNormal(c.alpha_s * MEAN, covariance), c


@pytest.mark.parametrize("level", [0, 3, 5])
def test_log_density_is_the_marginal_s_whatever_the_batch(level):
    """Up to the constant of y = y_scale x_s, in D = 2 dimensions."""
    law, c = _law(level)
    x = law.sample((50,))
    found = log_density(NoGuidance(), ENERGY, SCHEDULE, level, x, batch_size=7)
    torch.testing.assert_close(found, law.log_prob(x) - 2 * c.y_scale.log())
    torch.testing.assert_close(log_density(NoGuidance(), ENERGY, SCHEDULE, level, x), found)


def test_the_plane_holds_the_density_the_right_way_up():
    level, extent = 3, 5.0
    at = plane(NoGuidance(), ENERGY, SCHEDULE, level, extent, 200, CPU)
    law, _ = _law(level)
    points = lattice(extent, 200, torch.float64)
    expected = law.log_prob(points).exp().view(200, 200)
    torch.testing.assert_close(at.density, expected, rtol=2e-3, atol=1e-5)
    assert float(at.density.sum()) * (10 / 200) ** 2 == pytest.approx(1, abs=1e-12)
    assert float(at.energy.min()) == 0
    row, column = divmod(int(at.energy.argmin()), 200)
    across, up = points[row * 200 + column]
    assert across == points[column, 0] and up == points[row * 200, 1]
    assert abs(across - law.mean[0]) <= 0.05 and abs(up - law.mean[1]) <= 0.05


def test_the_window_holds_the_data_at_each_level():
    for level in range(6):
        law, _ = _law(level)
        radius = float((MEAN.abs() + 3 * VARIANCE.sqrt()).max())
        held = law.sample((2000,)).abs() < window(SCHEDULE, level, radius)
        assert held.double().mean() > 0.98
    assert window(SCHEDULE, 0, 1.0) < 1.05 and window(SCHEDULE, 5, 1.0) > 2


def test_a_line_crosses_the_barrier_of_two_modes():
    """Level 0 of a mixture: the middle lies d²/8v above the modes, less ln 2 for being near both."""
    a, b = torch.full((1, 2, 2), -1.0).double(), torch.full((1, 2, 2), 1.0).double()
    energy = MixtureEnergy(torch.stack([a, b]), 0.05)
    x, energies = line(NoGuidance(), energy, SCHEDULE, a, b, 11)
    assert x.shape == (11, 1, 2, 2) and energies.shape == (6, 11)
    torch.testing.assert_close(x[[0, 5, 10]], torch.stack([a, 0 * a, b]))
    for level, values in enumerate(energies):
        c = SCHEDULE.transition(torch.tensor([level + 1]), torch.float64)
        v = c.alpha_s**2 * 0.05 + c.sigma_s**2
        distance = 4 * (2 * c.alpha_s) ** 2  # |a - b|² of four elements at the level
        near_both = torch.logaddexp(-distance / (2 * v), torch.zeros(1).double()) - torch.tensor(2.0).log()
        torch.testing.assert_close(values[5:6] - values[0], distance / (8 * v) + near_both)
        torch.testing.assert_close(values, values.flip(0))


def test_a_line_on_a_gaussian_is_a_parabola():
    energy = GaussianEnergy((2,), 0.0, 0.5)
    first, second = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double()
    _, energies = line(NoGuidance(), energy, SCHEDULE, first, second, 5)
    c = SCHEDULE.transition(torch.tensor([1]), torch.float64)
    expected = 0.5 * (c.alpha_s * torch.tensor([1, 0.5, 0, 0.5, 1]).double()) ** 2
    torch.testing.assert_close(energies[0] - energies[0, 2], expected / (c.alpha_s**2 * 0.5 + c.sigma_s**2))


def test_pictures_show_what_is_high_and_where(tmp_path):
    """The upper right cell is likely: the darkest place of the density panel is its upper right."""
    values = torch.full((10, 10), -30.0).double()
    values[9, 9] = 0.0
    at = Plane(0, 1.0, values)
    picture = planes_picture([at, at], [torch.zeros(1, 2)] * 2, [float(at.density.max())] * 2, "step 1")
    pixels = torch.from_numpy(np.array(picture)).long()
    blue = (pixels == torch.tensor([8, 48, 107])).all(2).nonzero()  # the last colour of Blues
    middle = blue[blue[:, 0] < 2 * picture.height // 3 + 5]  # the density's row
    assert len(middle) > 50 and picture.height // 3 < middle[:, 0].float().mean() < picture.height / 2
    save_animation([picture, picture.rotate(180), picture], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as moving:
        assert moving.n_frames == 3 and moving.size == picture.size and moving.info["duration"] == 500
