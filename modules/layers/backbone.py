"""A network of a user's own inside a role: net(x, λ[, label]), an image for an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, in_short


def evaluate(net: nn.Module, x: Tensor, logsnr: Tensor, label: Tensor | None, num_classes: int) -> Tensor:
    """net(x, λ) or, with classes, net(x, λ, label): shaped like x (b, ...).

    Args:
        logsnr: λ (b,). label: (b,) int64, -1 = none; None: none for any sample.

    Raises:
        ConfigurationError: what the network gives has another shape, or is no tensor.
    """
    if num_classes:
        label = torch.full(x.shape[:1], -1, device=x.device) if label is None else label
        out = net(x, logsnr, label)
    else:
        out = net(x, logsnr)
    if not isinstance(out, Tensor) or out.shape != x.shape:
        gave = str(tuple(out.shape)) if isinstance(out, Tensor) else in_short(out)
        raise ConfigurationError(
            f"{type(net).__name__}.forward gave {gave}, must give {tuple(x.shape)}, shaped like its x"
        )
    return out
