"""Noise: the published generator, the right laws, and numbers that depend on their key alone."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from modules.core.noise import Noise, philox

torch.set_num_threads(1)

LARGE = 100_000
DTYPES = [torch.float32, torch.float64]


def _tensor(word: int) -> Tensor:
    return torch.tensor([word])


@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(counter: str, key: str, wanted: str) -> None:
    """The vectors published with Random123 (Salmon et al. 2011)."""
    c0, c1, c2, c3 = (_tensor(int(word, 16)) for word in counter.split())
    k0, k1 = (int(word, 16) for word in key.split())
    got = philox((c0, c1, c2, c3), (k0, k1))
    assert [f"{int(word):08x}" for word in got] == wanted.split()


@pytest.mark.parametrize("dtype", DTYPES)
def test_normals_are_standard_normal(dtype: torch.dtype) -> None:
    z = Noise(1, torch.arange(LARGE), dtype=dtype).normal("z", (3,)).double()
    for column in z.T:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-3
    flat, n = z.flatten(), z.numel()
    # standard errors of the moments of a standard normal: 1, √2, √15, √96 over √n
    for power, value, error in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((flat**power).mean() - value) < 4 * math.sqrt(error / n), power


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniforms_are_uniform(dtype: torch.dtype) -> None:
    u = Noise(1, torch.arange(LARGE), dtype=dtype).uniform("u", (3,))
    assert u.dtype == dtype
    for column in u.T:
        assert stats.kstest(column.double().numpy(), "uniform").pvalue > 1e-3


def test_uniforms_never_reach_one() -> None:
    """Row 2538802 of seed 0 draws a word whose 24 highest bits are ones: it would round to 1 in float32."""
    u = Noise(0, torch.tensor([2538802])).uniform("u", (4,))
    assert 1 - 1e-7 < u[0, 2] < 1


@pytest.mark.parametrize(("low", "high"), [(1, 7), (0, 2), (-3, 7), (5, 6)])
def test_integers_are_uniform(low: int, high: int) -> None:
    drawn = Noise(2, torch.arange(LARGE)).integers("t", low, high)
    assert drawn.dtype == torch.int64 and drawn.shape == (LARGE,)
    assert drawn.min() == low and drawn.max() == high - 1
    assert high - low == 1 or stats.chisquare((drawn - low).bincount().numpy()).pvalue > 1e-3


def _streams() -> dict[str, Tensor]:
    """(LARGE,) normals of neighbouring keys."""
    rows = torch.arange(LARGE)
    base = Noise(0, rows, step=5, stream="train", dtype=torch.float64)
    three = base.normal("eps", (3,))
    return {
        "base": three[:, 0],
        "next element": three[:, 1],
        "last element": three[:, 2],
        "next row": three[:, 0].roll(1),
        "draw": base.normal("eps", (3,), draw=1)[:, 0],
        "purpose": base.normal("eps_step", (3,))[:, 0],
        "child": base.child("level 1").normal("eps", (3,))[:, 0],
        "grandchild": base.child("level 1").child("a").normal("eps", (3,))[:, 0],
        "other child": base.child("level 2").normal("eps", (3,))[:, 0],
        "step": Noise(0, rows, 6, "train", torch.float64).normal("eps", (3,))[:, 0],
        "stream": Noise(0, rows, 5, "sample", torch.float64).normal("eps", (3,))[:, 0],
        "seed": Noise(1, rows, 5, "train", torch.float64).normal("eps", (3,))[:, 0],
        # draw and step are words of one counter: they mustn't be mixed up
        "draw 5, step 0": Noise(0, rows, 0, "train", torch.float64).normal("eps", (3,), draw=5)[:, 0],
    }


def test_keys_give_independent_streams() -> None:
    """Neither values nor squares of two streams correlate (4.5 standard errors, 78 pairs)."""
    streams = _streams()
    squares = {name: z**2 - 1 for name, z in streams.items()}
    bound = 4.5 / math.sqrt(LARGE)
    for one, other in itertools.combinations(streams, 2):
        assert abs(torch.corrcoef(torch.stack([streams[one], streams[other]]))[0, 1]) < bound, (one, other)
        assert abs(torch.corrcoef(torch.stack([squares[one], squares[other]]))[0, 1]) < bound, (one, other)


def test_elements_of_an_image_are_independent() -> None:
    """Box and Muller's two normals of one radius among them."""
    z = Noise(3, torch.arange(20_000), dtype=torch.float64).normal("z", (3, 2, 2)).flatten(1)
    for values in (z, z**2):
        correlation = torch.corrcoef(values.T) - torch.eye(12, dtype=torch.float64)
        assert correlation.abs().max() < 4.5 / math.sqrt(20_000)


def test_a_row_doesnt_know_its_batch() -> None:
    rows = torch.tensor([7, 0, 2**32 - 1, 123456])
    order = torch.tensor([2, 0, 3])
    whole, part = Noise(4, rows, 9, "train"), Noise(4, rows[order], 9, "train")
    assert torch.equal(part.normal("z", (5,)), whole.normal("z", (5,))[order])
    assert torch.equal(part.uniform("u"), whole.uniform("u")[order])
    assert torch.equal(part.integers("t", 1, 1000), whole.integers("t", 1, 1000)[order])
    assert torch.equal(part.child("a").normal("z", (1, 2, 2)), whole.child("a").normal("z", (1, 2, 2))[order])


def test_no_state_and_no_global_generator() -> None:
    before = torch.get_rng_state()
    noise = Noise(5, torch.arange(6))
    first = noise.normal("z", (2, 3))
    noise.uniform("u"), noise.normal("z", (2, 3), draw=1), noise.child("c")
    assert torch.equal(noise.normal("z", (2, 3)), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5, 5)])
def test_shapes_and_precisions_agree(shape: tuple[int, ...]) -> None:
    rows = torch.arange(500)
    low, high = (Noise(6, rows, dtype=dtype) for dtype in DTYPES)
    assert low.normal("z", shape).shape == (500, *shape)
    assert low.uniform("u", shape).dtype == torch.float32
    assert (low.uniform("u", shape).double() - high.uniform("u", shape)).abs().max() < 2.0**-23
    # a radius is sensitive where its uniform is near 1: not every normal agrees to the last digits
    assert (low.normal("z", shape).double() - high.normal("z", shape)).abs().median() < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_draws_at_once_are_single_draws(dtype: torch.dtype, monkeypatch) -> None:
    noise = Noise(8, torch.arange(5), 3, "train", dtype)
    wanted = [noise.normal("langevin", (3, 2), draw=k) for k in range(7)]
    for at_once in (1, 60, 10**6):  # one by one, in twos, all
        monkeypatch.setattr("modules.core.noise._AT_ONCE", at_once)
        drawn = list(noise.normals("langevin", (3, 2), 7))
        assert len(drawn) == 7 and all(map(torch.equal, drawn, wanted))
    assert list(noise.normals("langevin", (3,), 0)) == []
