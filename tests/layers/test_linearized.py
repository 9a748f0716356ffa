"""Layers with their transposed derivative written out, against plain ones through autograd."""

from __future__ import annotations

import pytest
import torch

from modules.layers.linearized import convolve, convolve_doubled, double


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_convolution_of_doubled_pixels(size: int, with_bias: bool) -> None:
    """Its values, its pull, and what a loss of the pull says of weights and gradients."""
    generator = torch.Generator().manual_seed(size)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    x, weight, g = drawn(2, 3, 4, 6), drawn(5, 3, size, size), drawn(2, 5, 8, 12)
    bias = drawn(5) if with_bias else None
    larger, pull_double = double(x)
    plain, pull_plain = convolve(larger, weight, bias)
    once, pull_once = convolve_doubled(x, weight, bias)
    wanted, found = pull_double(pull_plain(g)), pull_once(g)
    torch.testing.assert_close(once, plain, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found, torch.autograd.grad(plain, x, g, create_graph=True)[0])
    for each in zip(*(torch.autograd.grad((v**2).sum(), (weight, g)) for v in (found, wanted)), strict=True):
        torch.testing.assert_close(*each, atol=1e-10, rtol=1e-12)
