"""Activations by their gin-friendly names."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from modules.checks import check_choice

Activation = Callable[[Tensor], Tensor]


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 (spec §7), not torch's 0.01."""
    return F.leaky_relu(x, 0.2)


_ACTIVATIONS: dict[str, Activation] = {
    "lrelu": leaky_relu,
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "tanh": F.tanh,
}


def activation(owner: str, name: str) -> Activation:
    """The function called `name`; `owner` is the argument named in the error.

    The last four are smooth, as a loss with second derivatives of the energy needs them (spec §9).

    Raises:
        ConfigurationError: an unknown name.
    """
    check_choice(owner, name, list(_ACTIVATIONS))
    return _ACTIVATIONS[name]
