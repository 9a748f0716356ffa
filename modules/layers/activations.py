"""Activations by their gin-friendly names, with their derivatives written out for chains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modules.core.checks import check_choice


@dataclass(frozen=True)
class Activation:
    """A function a of single numbers, and its derivative in the form that is cheapest to keep.

    Args:
        apply: x -> a(x).
        linearize: x -> (a(x), kept).
        backward: (g, kept) -> g·a'(x), which may be written over g.
        consume: x -> a(x), written over x where autograd allows it.
    """

    apply: Callable[[Tensor], Tensor]
    linearize: Callable[[Tensor], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor], Tensor]
    consume: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """a(x)."""
        return self.apply(x)


def _by_output(
    apply: Callable[[Tensor], Tensor],
    overwrite: Callable[[Tensor], Tensor],
    backward: Callable[[Tensor, Tensor], Tensor],
) -> Activation:
    """An activation whose derivative is a function of its output, so that the input may be overwritten."""

    def linearize(x: Tensor) -> tuple[Tensor, Tensor]:
        out = apply(x)
        return out, out

    return Activation(apply, linearize, backward, overwrite)


def _by_slope(
    apply: Callable[[Tensor], Tensor], linearize: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Activation:
    """An activation that keeps its slope: transcendental functions are evaluated once, not in `backward`."""
    return Activation(apply, linearize, lambda g, slope: g.mul_(slope), apply)


def _silu(x: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.sigmoid(x)
    out = x * s
    return out, torch.lerp(out, out.new_ones(()), s)  # (xσ)' = σ + xσ(1 - σ)


def _gelu(x: Tensor) -> tuple[Tensor, Tensor]:
    cdf = 0.5 * (1 + torch.erf(x * 0.5**0.5))
    return x * cdf, cdf + x * torch.exp(-0.5 * x**2) * (2 * math.pi) ** -0.5


def _softplus(x: Tensor) -> tuple[Tensor, Tensor]:
    return F.softplus(x), torch.sigmoid(x).masked_fill_(x > 20.0, 1.0)  # torch's softplus is x from there


def _leaky_backward(g: Tensor, out: Tensor) -> Tensor:
    return torch.ops.aten.leaky_relu_backward.grad_input(g, out, _SLOPE, True, grad_input=g)


_SLOPE = 0.2  # spec §7, not torch's 0.01
leaky_relu = _by_output(
    lambda x: F.leaky_relu(x, _SLOPE), lambda x: F.leaky_relu_(x, _SLOPE), _leaky_backward
)

_ACTIVATIONS: dict[str, Activation] = {
    "lrelu": leaky_relu,
    "relu": _by_output(F.relu, F.relu_, lambda g, out: g.mul_(out > 0)),
    "silu": _by_slope(F.silu, _silu),
    "gelu": _by_slope(F.gelu, _gelu),
    "softplus": _by_slope(F.softplus, _softplus),
    "tanh": _by_output(torch.tanh, torch.tanh_, torch.ops.aten.tanh_backward),
}


def activation(owner: str, name: str) -> Activation:
    """The function called `name`; `owner` is the argument named in the error.

    The last four are smooth, as a loss with second derivatives of the energy needs them (spec §9).

    Raises:
        ConfigurationError: an unknown name.
    """
    check_choice(owner, name, list(_ACTIVATIONS))
    return _ACTIVATIONS[name]
