"""Inpainting: its identities, the paths of known pixels, and the conditional law of a Gaussian (spec §8)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.energies.mlp import MLPEnergy
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.methods.networks import Networks
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.sampling.inpainting import Inpainting, Known, check_known, figures
from modules.schedules.cosine import CosineSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from tests.correlated_gaussian import CorrelatedGaussian

torch.set_num_threads(1)

MEAN = torch.tensor([0.5, -0.3, 0.2], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.5, 0.2], [0.5, 0.8, -0.2], [0.2, -0.2, 0.6]], dtype=torch.float64)
ENERGY = CorrelatedGaussian(MEAN, COVARIANCE)


def _noise(count: int) -> Noise:
    return Noise(0, torch.arange(count), stream="sample", dtype=torch.float64)


def _conditioned(mean: Tensor, precision: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (b, 2) and covariance of the last two coordinates given the first (b,)."""
    covariance = torch.linalg.inv(precision)
    gain = covariance[1:, 0] / covariance[0, 0]
    rest = covariance[1:, 1:] - gain[:, None] * covariance[0, 1:][None]
    return mean[1:] + (first - mean[0])[:, None] * gain, rest


@pytest.mark.parametrize("level", [1, 2])
def test_free_pixels_follow_the_conditional_law(level: int) -> None:
    """One recovery conditional (level 1 of 2) and one marginal (the top), given the first of three
    coordinates: 4,000 long chains have the law of the other two within 4.5 standard errors.

    The means move with what is known by 0.27 to 1 deviations: chains that ignored it would miss them.
    """
    count = 4_000
    schedule = CosineSchedule(2, logsnr_max=3.0, logsnr_min=-3.0)
    c = schedule.transition(torch.full((count,), level), torch.float64)
    x_t = torch.tensor([0.4, -0.9, 1.1], dtype=torch.float64).expand(count, 3)
    image = MEAN + _noise(count).normal("image", (3,))
    mask = torch.tensor([True, False, False]).expand(count, 3)
    mean, precision = ENERGY.recovery_law(c, x_t[0])
    longest = float(torch.linalg.eigvalsh(precision).max())
    factor = math.sqrt(0.1 / longest) / float(c.step_size[0])  # (m s)² λ = 0.1: variances 2.6% up at most
    generation = Generation(Langevin(1000, step_factor=factor))
    label = torch.full((count,), -1)
    known = Known(image, mask)
    networks = Networks(ENERGY, CopyInitializer((3,)), CosineSchedule())
    x_s = generation.descend(networks, c, x_t, label, _noise(count), known)
    assert torch.equal(x_s[:, 0], image[:, 0])
    y = x_s * c.y_scale[:, None]
    expected, covariance = _conditioned(mean, precision, y[:, 0])
    away = y[:, 1:] - expected
    assert (away.mean(0) / (covariance.diagonal() / count).sqrt()).abs().max() < 4.5
    found = torch.cov(away.T)
    scale = covariance.diagonal().sqrt()
    error = (found - covariance) / (scale[:, None] * scale)
    assert error.abs().max() < 0.026 + 4.5 * math.sqrt(2 / count)
    # the known one matters, and its whole influence is in the expected means
    assert expected[:, 0].std() / scale[0] > 0.2
    gain = torch.linalg.lstsq(y[:, :1] - y[:, :1].mean(0), away).solution
    assert gain.abs().max() < 4.5 * float(scale.max() / y[:, 0].std()) / math.sqrt(count)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("schedule", [CosineSchedule(), SubsampledLinearSchedule()])
def test_a_path_has_the_forward_laws(schedule, shared: bool) -> None:
    """Each level's mean and variance; between levels one ε for all, or the forward steps' correlation."""
    count = 20_000
    image = torch.full((count, 1), 0.6, dtype=torch.float64)
    path = Inpainting(shared).path(image, schedule, _noise(count))
    assert len(path) == schedule.num_levels + 1
    c = schedule.transition(torch.arange(1, schedule.num_levels + 1), torch.float64)
    alpha, sigma = torch.cat([c.alpha_s[:1], c.alpha_t]), torch.cat([c.sigma_s[:1], c.sigma_t])
    eps = [(x - a * image) / s for x, a, s in zip(path, alpha, sigma, strict=True)]
    for t, z in enumerate(eps):
        assert abs(float(z.mean())) < 4 / math.sqrt(count), t
        assert float(z.var()) == pytest.approx(1, rel=4 * math.sqrt(2 / count)), t
    for t in range(1, len(eps)):
        correlation = float((eps[t] * eps[t - 1]).mean())
        if shared:
            torch.testing.assert_close(eps[t], eps[0], rtol=1e-8, atol=1e-8)
        else:  # x_t = α_ts x_s + σ_ts ε': the part σ_s α_ts/σ_t of ε_s remains
            expected = float(c.sigma_s[t - 1] * c.alpha_ts[t - 1] / c.sigma_t[t - 1])
            assert correlation == pytest.approx(expected, abs=4 / math.sqrt(count)), t


@pytest.fixture(scope="module")
def networks() -> tuple[MLPEnergy, MLPInitializer]:
    torch.manual_seed(0)
    pair = MLPEnergy((3,), 3, width=16, depth=1), MLPInitializer((3,), 3, width=16, depth=1)
    for network in pair:
        network.double()
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.3)
    return pair


def _sample(networks, mask: Tensor | None, shared: bool = True, image: Tensor | None = None):
    generation = Generation(Langevin(3), inpainting=Inpainting(shared))
    image = _noise(4).uniform("image", (3,)) if image is None else image
    known = None if mask is None else Known(image, mask.expand(4, 3))
    label = torch.tensor([0, -1, 2, 1])
    draw = Draw(label, _noise(4), known=known)
    return image, generation.sample(Networks(*networks, CosineSchedule()), draw)


@pytest.mark.parametrize("shared", [True, False])
def test_an_empty_mask_is_plain_sampling_and_a_full_one_the_image(networks, shared: bool) -> None:
    """Bit for bit, all levels; and a full mask's levels are the path's."""
    _, plain = _sample(networks, None)
    _, empty = _sample(networks, torch.zeros(3, dtype=torch.bool), shared)
    assert torch.equal(plain.x, empty.x)
    assert all(torch.equal(a, b) for a, b in zip(plain.levels, empty.levels, strict=True))
    image, full = _sample(networks, torch.ones(3, dtype=torch.bool), shared)
    assert torch.equal(full.x, image)
    path = Inpainting(shared).path(image, CosineSchedule(), _noise(4))
    assert all(torch.equal(a, b) for a, b in zip(full.levels, path[::-1], strict=True))


def test_known_pixels_are_exact_at_every_level_and_steer_the_others(networks) -> None:
    mask = torch.tensor([True, False, False])
    image, half = _sample(networks, mask)
    path = Inpainting().path(image, CosineSchedule(), _noise(4))
    assert torch.equal(half.x[:, 0], image[:, 0])
    assert all(torch.equal(a[:, 0], b[:, 0]) for a, b in zip(half.levels, path[::-1], strict=True))
    _, plain = _sample(networks, None)
    assert torch.equal(half.levels[0][:, 1:], plain.levels[0][:, 1:])  # the free pixels' noise is their own
    _, moved = _sample(networks, mask, image=image + torch.tensor([1.0, 0.0, 0.0]))
    assert ((moved.x - half.x)[:, 1:].abs().amax(1) > 1e-6).all()
    # what stands under the hole is nobody's business
    _, same = _sample(networks, mask, image=image + torch.tensor([0.0, 5.0, 5.0]))
    assert torch.equal(same.x, half.x)


def test_figures_of_known_completions() -> None:
    """Two completions 0.3 above and 0.1 below the truth in the hole, whatever elsewhere."""
    truth = torch.zeros(1, 1, 2, 2)
    mask = torch.tensor([[[[True, False], [False, True]]]])
    x = torch.stack([torch.full((1, 2, 2), 0.3), torch.full((1, 2, 2), -0.1)])[None].clone()
    x[..., 0, 0] = 7.0
    found = figures(x, Known(truth, mask))
    assert float(found["rmse"]) == pytest.approx(math.sqrt(0.05), rel=1e-6)
    assert float(found["psnr"]) == pytest.approx(20 * math.log10(2 / math.sqrt(0.05)), rel=1e-6)
    assert float(found["rmse_of_mean"]) == pytest.approx(0.1, rel=1e-6)
    assert float(found["diversity"]) == pytest.approx(0.4, rel=1e-6)
    assert figures(x[:, :1], Known(truth, mask))["diversity"].isnan()


FAULTS = {
    "image": (
        torch.zeros(2, 1, 4, 4),
        torch.ones(8, 8),
        r"images must be \(n, 1, 8, 8\).*got \(2, 1, 4, 4\)",
    ),
    "size": (torch.zeros(2, 1, 8, 8), torch.ones(8, 7), r"mask of size \(8, 7\) doesn't fit.*\(8, 8\)"),
    "values": (torch.zeros(2, 1, 8, 8), torch.full((8, 8), 0.5), "must hold 1 .* and 0 .* alone"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault: str) -> None:
    image, mask, words = FAULTS[fault]
    with pytest.raises(ConfigurationError, match=words):
        check_known(image, mask, (1, 8, 8))
    assert check_known(torch.zeros(2, 1, 8, 8), torch.ones(8, 8), (1, 8, 8)).mask.shape == (2, 1, 8, 8)
    with pytest.raises(ConfigurationError, match=r"Inpainting\.shared_noise must be True or False"):
        Inpainting(1)  # type: ignore[arg-type]


def test_figures_of_three_completions_of_two_images() -> None:
    """0, 0.3 and 0.9 above the truth in the hole: apart by 0.3, 0.9 and 0.6; the other image's are alike."""
    truth = torch.full((2, 1, 2, 2), 0.2)
    mask = torch.tensor([[True, False], [False, False]]).expand(2, 1, 2, 2)
    above = torch.tensor([[0.0, 0.3, 0.9], [-0.1, -0.1, -0.1]])[:, :, None, None, None]
    x = truth[:, None] + above.expand(2, 3, 1, 2, 2)
    found = figures(x, Known(truth, mask))
    wanted = {
        "rmse": [math.sqrt(0.3), 0.1],
        "psnr": [20 * math.log10(2 / math.sqrt(0.3)), 20 * math.log10(20)],
        "rmse_of_mean": [0.4, 0.1],
        "diversity": [0.6, 0.0],
    }
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert found[name].tolist() == pytest.approx(values, rel=1e-5, abs=1e-6), name
        assert found[name].dtype == torch.float64
    nothing = figures(x, Known(truth, torch.ones_like(mask)))
    assert all(values.isnan().all() for values in nothing.values())
    one = figures(x[:, :1], Known(truth, mask))["diversity"]
    assert one.shape == (2,) and one.dtype == torch.float64 and one.isnan().all()


def test_a_mask_is_of_any_numbers_and_of_every_size_that_fits() -> None:
    images = torch.zeros(2, 3, 4, 5)
    half = torch.arange(20).reshape(4, 5) % 2
    for mask in (half, half.numpy(), half.bool(), half.float(), half.expand(3, 4, 5)):
        known = check_known(images, mask, (3, 4, 5))
        assert known.mask.dtype == torch.bool and known.mask.shape == images.shape
        assert torch.equal(known.mask[1, 2], half.bool()) and torch.equal(known.image, images)
    with pytest.raises(ConfigurationError, match=r"size \(3, 5\) .* size \(2, 3, 4, 5\): give \(4, 5\)$"):
        check_known(images, torch.ones(3, 5), (3, 4, 5))
    with pytest.raises(ConfigurationError, match="must hold 1"):
        check_known(images, 2 * half, (3, 4, 5))
    assert Inpainting().shared_noise


@pytest.mark.parametrize("shared", [True, False])
def test_a_path_is_where_its_image_is_and_of_its_dtype(shared: bool) -> None:
    noise = Noise(0, torch.arange(2))
    path = Inpainting(shared).path(torch.zeros(2, 3), CosineSchedule(), noise)
    assert {x.dtype for x in path} == {torch.float32}
    away = torch.device("meta")
    path = Inpainting(shared).path(torch.zeros(2, 3, device=away), CosineSchedule(), noise.to(away))
    assert len(path) == 7 and all(x.device == away for x in path)
