"""Ways between noises and images: lengths, angles, ends; and what the task writes (spec §8)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

import launch
from modules import runs
from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.sampling.interpolation import NoiseOnTheWay, spherical

torch.set_num_threads(1)


def test_a_way_keeps_length_and_turns_evenly() -> None:
    """Unit vectors 60 degrees apart: at u = 1/4 the way has turned by 15 degrees, at length 1."""
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    turn = math.pi / 3
    last = torch.tensor([[math.cos(turn), math.sin(turn)], [0.0, 2.0]], dtype=torch.float64)
    start, middle, end = (spherical(first, last, torch.full((2,), u)) for u in (0.0, 0.25, 1.0))
    assert torch.equal(start, first) and torch.equal(end, last)
    quarter = [math.cos(turn / 4), math.sin(turn / 4)]
    torch.testing.assert_close(middle[0], torch.tensor(quarter, dtype=torch.float64))
    torch.testing.assert_close(middle[1], first[1])  # parallel: a straight line
    each = spherical(first, last, torch.tensor([1.0, 0.0]))  # a share of its own for each
    assert torch.equal(each, torch.stack([last[0], first[1]]))


def test_halfway_between_noises_is_noise() -> None:
    """Its variance is 1, where a straight line's would be a half."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 50_000, generator=generator, dtype=torch.float64) for _ in range(2))
    middle = spherical(a, b, torch.tensor([0.5, 0.5]))
    # shares of another precision change neither the points' nor the points
    fine = spherical(a.double(), b.double(), torch.tensor([0.3, 0.3]).double())
    coarse = spherical(a.float(), b.float(), torch.tensor([0.3, 0.3]).double())
    assert (fine.dtype, coarse.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(coarse.double(), fine, rtol=1e-5, atol=1e-6)
    assert middle.var().item() == pytest.approx(1, abs=0.02)


@pytest.fixture(scope="module")
def run(tiny_run):
    return runs.load(tiny_run)


def test_ways_between_noises_begin_at_samples(run) -> None:
    """Frame 0 of way i is sample 2i; neighbours are nearer than ends; a batch size makes no difference."""
    way = run.interpolate(2, 5, label=3, guidance=0.5, seed=4, dtype=torch.float32)
    assert way.shape == (2, 5, 1, 8, 8)
    samples = run.generate(4, label=3, guidance=0.5, seed=4).x
    torch.testing.assert_close(way[:, 0], samples[::2], rtol=0, atol=2e-4)
    again = run.interpolate(2, 5, label=3, guidance=0.5, seed=4, batch_size=3)
    torch.testing.assert_close(again, way, rtol=0, atol=2e-4)
    steps = (way[:, 1:] - way[:, :-1]).square().mean((2, 3, 4)).sqrt()
    assert (steps.amax(1) < (way[:, -1] - way[:, 0]).square().mean((1, 2, 3)).sqrt()).all()


def test_ways_between_samples_have_them_at_both_ends(tiny_run) -> None:
    """All noises move: in float64 the ends are samples 2i and 2i+1; between them no noise is either's."""
    exact = runs.load(tiny_run)
    exact.method.double()
    options = {"label": 3, "guidance": 0.5, "seed": 4, "dtype": torch.float64}
    way = exact.interpolate(2, 5, shared_noise=False, batch_size=4, **options)
    samples = exact.generate(4, **options).x
    torch.testing.assert_close(way[:, 0], samples[::2], rtol=0, atol=1e-9)
    torch.testing.assert_close(way[:, -1], samples[1::2], rtol=0, atol=1e-9)
    shared = exact.interpolate(2, 5, **options)
    torch.testing.assert_close(shared[:, 0], samples[::2], rtol=0, atol=1e-9)
    assert (shared[:, -1] - samples[1::2]).square().mean((1, 2, 3)).sqrt().min() > 0.1
    steps = (way[:, 1:] - way[:, :-1]).square().mean((2, 3, 4)).sqrt()
    assert (steps < (way[:, -1] - way[:, 0]).square().mean((1, 2, 3)).sqrt()[:, None]).all()


def test_noises_on_the_way_are_normal_draw_by_draw() -> None:
    """Unit variance at u = 0.3, ends to the bit, and each draw and child another."""
    rows = torch.arange(2)
    ends = [Noise(0, rows + 2 * i, dtype=torch.float64) for i in range(2)]
    way = NoiseOnTheWay(*ends, torch.full((2,), 0.3))
    drawn = [
        way.normal("a", (20_000,)),
        *way.normals("a", (20_000,), 2),
        way.child("c").normal("a", (20_000,)),
    ]
    assert torch.equal(drawn[0], drawn[1])
    for z in drawn:
        assert z.var().item() == pytest.approx(1, abs=0.03)
    for z in drawn[2:]:
        assert abs(float((z * drawn[0]).mean())) < 0.03
    for noise, u in zip(ends, (0.0, 1.0), strict=True):
        assert torch.equal(
            NoiseOnTheWay(*ends, torch.full((2,), u)).normal("a", (9,)), noise.normal("a", (9,))
        )


def test_of_uniforms_and_integers_the_first_are_taken() -> None:
    """Each by its purpose and draw; a child's ends are children."""
    rows = torch.arange(2)
    first, last = (Noise(0, rows + 2 * i, dtype=torch.float64) for i in range(2))
    way = NoiseOnTheWay(first, last, torch.tensor([1.0, 0.3]))
    assert torch.equal(way.uniform("a", (3,), 2), first.uniform("a", (3,), draw=2))
    assert way.uniform("a").shape == (2,) and torch.equal(way.uniform("a"), first.uniform("a"))
    assert torch.equal(way.integers("a", 2, 90), first.integers("a", 2, 90))
    child = way.child("c")
    assert torch.equal(child.uniform("a"), first.child("c").uniform("a"))
    assert torch.equal(child.normal("a", (3,), 1)[0], last.child("c").normal("a", (3,), draw=1)[0])


def test_at_a_right_angle_halfway_is_half_of_either() -> None:
    """cos 45° of both; a quarter of a turn the other way round, and vectors of unequal lengths."""
    first, last = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [-2.0, 0.0]])
    middle = spherical(first, last, torch.full((2,), 0.5))
    half = math.sqrt(0.5)
    torch.testing.assert_close(middle, half * torch.tensor([[3.0, 1.0], [-2.0, 1.0]]))
    assert torch.equal(spherical(first, first, torch.full((2,), 0.5)), first)
    third = spherical(first, -first, torch.full((2,), 0.25))  # opposite: a straight line through 0
    torch.testing.assert_close(third, 0.5 * first)


def test_ways_between_images_stay_near_them_at_low_levels(run) -> None:
    """At level 1 of 6 most of an image is left, and halfway half of it; at level 6 nothing is."""
    ends = torch.full((1, 1, 8, 8), 0.7), torch.full((1, 1, 8, 8), -0.7)
    low, high = (run.interpolate(ends, 3, level=level).mean((2, 3, 4))[0] for level in (1, 6))
    assert low[0] - low[2] > 0.6 and low[2] + 0.2 < low[1] < low[0] - 0.2
    assert (high[0] - high[2]).abs() < 0.3


def test_faults_of_interpolate_are_named(run) -> None:
    images = torch.zeros(2, 1, 8, 8)
    for arguments, words in (
        (((images, images[:1]), 3), r"images must be \(2, 1, 8, 8\), got \(1, 1, 8, 8\)"),
        (((images, images), 3, 7), "level must be at most 6"),
        ((2, 3, 2), "noises lie at the top level"),
        ((2, 1), "frames must be at least 2"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            run.interpolate(*arguments)


def _task(run, output, *options: str) -> int:
    return launch.main(["--task", "interpolate", "--run", str(run), "--output", str(output), *options])


def test_the_task_writes_strips(tiny_run, tmp_path) -> None:
    assert _task(tiny_run, tmp_path, "--num", "3", "--frames", "4", "--between", "samples") == 0
    strips = Image.open(tmp_path / "strips.png")
    assert strips.width / strips.height == pytest.approx((4 * 10 + 2) / (3 * 10 + 2), rel=0.01)
    for i in range(2):
        Image.fromarray(np.full((8, 8), 200 * i, np.uint8)).save(tmp_path / f"{i}.png")
    images = [str(tmp_path / f"{i}.png") for i in range(2)]
    out = tmp_path / "out"
    assert _task(tiny_run, out, "--between", "images", "--images", *images, "--level", "2") == 0
    strip = np.asarray(Image.open(out / "strips.png"))
    side = strip.shape[0] // 12  # a row of one picture and its frame is 12 pixels high
    assert strip[6 * side, 6 * side] == 0 and strip[6 * side, -6 * side] == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--frames", "1"], "--frames must be at least 2"),
        (["--images", "a.png"], "--images are for --between images"),
        (["--between", "samples", "--level", "2"], "noises lie at the top level"),
        (["--between", "images", "--level", "9"], "level must be at most 6"),
        (["--label", "11"], "a label must be in 0..9"),
    ],
)
def test_a_fault_is_one_line_and_writes_nothing(tiny_run, tmp_path, capsys, options, words) -> None:
    assert _task(tiny_run, tmp_path / "out", *options) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and words in printed
    assert not (tmp_path / "out").exists()
