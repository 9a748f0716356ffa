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


def group_norm_as_film(layer: nn.Module, batch: int) -> tuple[int, float, Tensor, Tensor]:
    """A GroupNorm as the arguments of normalize_film after h: its weight and bias are every sample's."""
    assert isinstance(layer, nn.GroupNorm)
    return layer.num_groups, layer.eps, layer.weight.expand(batch, -1), layer.bias.expand(batch, -1)


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
