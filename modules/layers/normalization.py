"""The normalization layers a network may switch on: per sample only, so that energies stay independent."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.checks import ConfigurationError, check_choice


def group_norm(owner: str, groups: int, channels: int) -> nn.GroupNorm:
    """GroupNorm with eps 1e-6 (spec §7).

    Raises:
        ConfigurationError: groups don't divide the channels.
    """
    if channels % groups:
        raise ConfigurationError(
            f"{owner}: {groups} groups don't divide {channels} channels: change the groups or the widths"
        )
    return nn.GroupNorm(groups, channels, eps=1e-6)


def normalize(h: Tensor, layer: nn.GroupNorm) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """A GroupNorm and its transposed derivative, in differentiable operations.

    With n elements a group, r = 1/√(var + eps) and d = g·weight: r (d - mean(d) - x̂ mean(d x̂)).
    """
    groups, eps = layer.num_groups, layer.eps
    out = F.group_norm(h, groups, layer.weight, layer.bias, eps)

    def grouped(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], groups, -1)

    def pull(g: Tensor) -> Tensor:
        r = (grouped(h).var(-1, correction=0, keepdim=True) + eps).rsqrt()
        normal = grouped(F.group_norm(h, groups, None, None, eps))
        d = grouped(g * layer.weight[:, None, None])
        in_h = r * (d - d.mean(-1, keepdim=True) - normal * (d * normal).mean(-1, keepdim=True))
        return in_h.reshape(h.shape)

    return out, pull


def norm(owner: str, name: str, channels: int) -> nn.Module:
    """The layer called `name`: "none", "group" (32 groups) or "instance" (a group per channel)."""
    check_choice(f"{owner}.norm", name, ["none", "group", "instance"])
    if name == "none":
        return nn.Identity()
    return group_norm(f"{owner}.norm", 32 if name == "group" else channels, channels)


def frozen_norm(layer: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor] | None:
    """A GroupNorm as a function, with its parameters taken now; None for an Identity."""
    if not isinstance(layer, nn.GroupNorm):
        return None
    groups, weight, bias, eps = layer.num_groups, layer.weight.clone(), layer.bias.clone(), layer.eps
    weight, bias = weight.to(dtype), bias.to(dtype)
    return lambda h: F.group_norm(h, groups, weight, bias, eps)
