"""Pieces whose pulls are written out: what autograd finds of plain operations, to the second derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modules.layers.film_norm import normalize_film
from modules.layers.linearized import convolve, convolve_doubled, normalize_film_silu

torch.set_num_threads(1)

GROUPS, EPS = 2, 0.3  # an eps that is seen


def _random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


def _plain_film(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.group_norm(h, GROUPS, None, None, EPS) * scale[:, :, None, None] + shift[:, :, None, None]


FILM = (_random(3, 6, 2, 5), _random(3, 6), _random(3, 6) + 1)
CONVOLVED = (_random(2, 3, 4, 5), _random(4, 3, 3, 3), _random(4))
PIECES: dict[str, tuple[Callable, Callable, tuple[Tensor, ...]]] = {
    "normalize, film": (lambda h, *film: normalize_film(h, GROUPS, EPS, *film), _plain_film, FILM),
    "normalize, film, silu": (
        lambda h, *film: normalize_film_silu(h, GROUPS, EPS, *film),
        lambda *x: F.silu(_plain_film(*x)),
        FILM,
    ),
    "convolve": (
        lambda h, *weights: (lambda out, pull: (out, lambda g: (pull(g),)))(*convolve(h, *weights)),
        lambda h, *weights: F.conv2d(h, *weights, padding=1),
        CONVOLVED,
    ),
} | {
    f"convolve doubled pixels, {size}x{size}": (
        lambda h, *weights: (lambda out, pull: (out, lambda g: (pull(g),)))(*convolve_doubled(h, *weights)),
        lambda h, *weights: F.conv2d(
            F.interpolate(h, scale_factor=2.0), *weights, padding=weights[0].shape[-1] // 2
        ),
        (_random(2, 3, 2, 3), _random(4, 3, size, size), _random(4)),
    )
    for size in (1, 3, 5)
}


def _leaves(inputs: tuple[Tensor, ...]) -> list[Tensor]:
    return [x.detach().clone().requires_grad_() for x in inputs]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", PIECES)
def test_values_pulls_and_their_derivatives_are_autograds(name: str, channels_last: bool) -> None:
    """Random cotangents of the output, and of everything that the pull gives, reach all inputs and g."""
    piece, plain, inputs = PIECES[name]
    found = []
    for written in (True, False):
        leaves = _leaves(inputs)
        h = leaves[0].contiguous(memory_format=torch.channels_last) if channels_last else leaves[0]
        if written:
            out, pull = piece(h, *leaves[1:])
            g = _leaves((_random(*out.shape) * 2,))[0]
            pulled = pull(g)
        else:
            out = plain(h, *leaves[1:])
            g = _leaves((_random(*out.shape) * 2,))[0]
            asked = [h] if name.startswith("convolve") else [h, *leaves[1:]]
            pulled = torch.autograd.grad(out, asked, g, create_graph=True)
        loss = (out.sin() * 0.3).sum() + sum((p * _random(*p.shape).detach()).sum() for p in pulled)
        grads = list(torch.autograd.grad(loss, [g, *leaves], retain_graph=True))
        # each by itself: a part that nobody asks for gets no cotangent
        for part in pulled[:2]:
            grads += torch.autograd.grad(
                part.square().sum(), [g, *leaves], retain_graph=True, materialize_grads=True
            )
        found.append([out, *pulled, *grads])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    assert all(wanted.abs().max() > 1e-2 for wanted in found[1][: 2 + len(leaves)])


@pytest.mark.parametrize("name", PIECES)
def test_derivatives_are_differences(name: str) -> None:
    """gradgradcheck of the output and gradcheck of the pull, at the same inputs."""
    piece, _, inputs = PIECES[name]
    leaves = _leaves(inputs)
    g = _leaves((piece(*leaves)[0],))[0]
    assert torch.autograd.gradcheck(lambda *x: piece(*x)[0], leaves)
    assert torch.autograd.gradcheck(lambda g, *x: piece(*x)[1](g), (g, *leaves))
    assert torch.autograd.gradgradcheck(lambda *x: piece(*x)[0], leaves)


def test_a_third_derivative_is_refused() -> None:
    """The pull's own derivative is written out and has none: asked for, autograd says so."""
    leaves = _leaves(FILM)
    out, pull = normalize_film(leaves[0], GROUPS, EPS, *leaves[1:])
    (first,) = torch.autograd.grad(pull(out.detach())[0].square().sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
