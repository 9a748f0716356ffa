"""Some samples of a draw are those of the whole, with whatever each one is given; sizes must agree."""

from __future__ import annotations

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.methods.networks import Networks
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw, Start, sample_noise
from modules.sampling.generation import Generation
from modules.sampling.indexed import sample
from modules.sampling.inpainting import Known
from modules.sampling.interpolation import NoiseOnTheWay
from modules.schedules.cosine import CosineSchedule

NUM, LEVEL = 5, 4


def _draw() -> Draw:
    """Other labels, noises, starts, and known pixels for each sample; float64."""
    rows = torch.arange(NUM)
    ends = (sample_noise(1, 2 * rows + i, torch.float64) for i in (0, 1))
    noise = NoiseOnTheWay(*ends, torch.linspace(0, 1, NUM))
    image = noise.child("image").normal("pixels", (2,))
    mask = torch.stack([rows % 2 == 0, rows == 3], 1)
    return Draw(rows % 4 - 1, noise, Start(noise.normal("start", (2,)), LEVEL), Known(image, mask))


def test_some_samples_of_a_draw_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    networks = MLPEnergy((2,), 3, width=16, depth=1), MLPInitializer((2,), 3, width=16, depth=1)
    for network in networks:
        for p in network.double().parameters():
            torch.nn.init.normal_(p, std=0.3)
    parts = *networks, CosineSchedule()
    generation, whole = Generation(Langevin(3)), _draw()
    x = generation.sample(Networks(*parts), whole).x
    assert torch.pdist(x).min() > 1e-3
    rows = torch.tensor([4, 1, 2])
    some = generation.sample(Networks(*parts), whole.take(rows))
    torch.testing.assert_close(some.x, x[rows], rtol=1e-12, atol=1e-12)
    assert len(some.levels) == LEVEL + 1
    batches = sample(generation, Networks(*parts), whole, Runtime(trackers=()), batch_size=2)
    torch.testing.assert_close(batches.x, x, rtol=1e-12, atol=1e-12)


def test_sizes_that_differ_are_named() -> None:
    labels, noise, three = torch.zeros(2).long(), sample_noise(0, torch.arange(2)), torch.zeros(3, 2)
    with pytest.raises(ConfigurationError, match=r"Draw\.start must be of 2 samples, .* got 3"):
        Draw(labels, noise, Start(three, 1))
    with pytest.raises(ConfigurationError, match=r"Draw\.known must be of 2 samples, .* got 3"):
        Draw(labels, noise, known=Known(three, three > 0))
