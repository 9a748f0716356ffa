"""Some samples of a draw are those of the whole, with whatever each one is given; sizes must agree."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
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
from modules.sampling.measuring import Downsampling, Measured
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
    with pytest.raises(ConfigurationError, match=r"Draw\.measured must be of 2 samples, .* got 3"):
        Draw(labels, noise, measured=Measured(three, Downsampling(), 0.1))


def test_all_of_a_draw_is_taken_and_moved() -> None:
    """Rows 4 and 1 of everything; the device is one that holds no numbers, so that nothing stays behind."""
    measured = Measured(torch.arange(10.0).reshape(NUM, 2), Downsampling(), 0.3)
    whole = dataclasses.replace(_draw(), measured=measured)
    rows = torch.tensor([4, 1])
    part, away = whole.take(rows), whole.to(torch.device("meta"))
    for draw in (part, away):
        assert draw.start is not None and draw.known is not None and draw.measured is not None
        assert (draw.start.level, draw.measured.sigma) == (LEVEL, 0.3)
        assert draw.measured.map is measured.map

    def tensors(draw: Draw) -> list[torch.Tensor]:
        given = [draw.labels, draw.start.x, draw.known.image, draw.known.mask, draw.measured.values]
        drawn = [draw.noise.normal("a", (3,)), draw.noise.uniform("a"), draw.noise.integers("a", 0, 9)]
        return [*given, *drawn, draw.noise.child("b").normal("a", (3,))]

    for of_part, of_whole in zip(tensors(part), tensors(whole), strict=True):
        torch.testing.assert_close(of_part, of_whole[rows], rtol=0, atol=0)
    assert all(x.device.type == "meta" for x in tensors(away))
    bare = Draw(whole.labels, whole.noise)
    for draw in (bare.take(rows), bare.to(torch.device("cpu"))):
        assert draw.start is draw.known is draw.measured is None


def test_samples_of_a_seed_are_drawn_by_their_index_without_a_label() -> None:
    draw = Draw.of_seed(7, 3)
    assert draw.labels.tolist() == [-1] * 3 and draw.known is None and len(draw) == 3
    wanted = Noise(7, torch.arange(3), stream="sample").normal("x", (2,))
    assert torch.equal(draw.noise.normal("x", (2,)), wanted) and wanted.dtype == torch.float32
    known = Known(torch.ones(3, 2), torch.tensor([[True, False]] * 3))
    exact = Draw.of_seed(7, 3, torch.tensor([1, -1, 0]), known, torch.float64)
    assert exact.labels.tolist() == [1, -1, 0] and exact.known is not None
    assert exact.known.image.dtype == exact.noise.uniform("a").dtype == torch.float64
    assert torch.equal(exact.known.mask, known.mask)
    with pytest.raises(ConfigurationError, match="seed must be an integer"):
        Draw.of_seed(1.5, 3)
