"""The sizes of CDRL's published networks, read off their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def energy_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of CooperativeResNet that an energy of these tensors, by published name, was made by.

    Raises:
        KeyError, IndexError: they are of something else.
    """
    channels = tensors["module_list.0.bias"].shape[0]
    blocks = [place for (place,) in _numbers(tensors, r"module_list\.(\d+)\.conv1")]
    firsts = [place for place in blocks if place - 1 not in blocks]  # a pool lies between levels
    label = next((value for name, value in tensors.items() if name.startswith("y_map.weight")), None)
    return {
        "num_classes": 0 if label is None else label.shape[1] - 1,
        "channels": channels,
        "channel_mult": tuple(tensors[f"module_list.{i}.conv1.bias"].shape[0] // channels for i in firsts),
        "num_blocks": len(blocks) // len(firsts) if firsts else 0,
    }


def unet_sizes(tensors: Mapping[str, Tensor], height: int) -> dict[str, Any]:
    """The arguments of UNet that a U-Net of these tensors, by published name, was made by.

    Args:
        height: of its images.

    Raises:
        KeyError, IndexError: they are of something else.
    """
    dim = tensors["init_conv.bias"].shape[0]
    firsts = [level for level, place in _numbers(tensors, r"downs\.(\d+)\.(\d+)\.conv1") if place == 0]
    last = _numbers(tensors, rf"downs\.({firsts[-1]})\.(\d+)\.conv1")  # nothing resamples there
    attentions = sorted({level for level, _ in _numbers(tensors, r"downs\.(\d+)\.(\d+)\.to_qkv")})
    return {
        "num_classes": tensors["y_mlp.0.weight"].shape[1] - 1 if "y_mlp.0.weight" in tensors else 0,
        "dim": dim,
        "dim_mults": tuple(tensors[f"downs.{level}.0.conv1.bias"].shape[0] // dim for level in firsts),
        "num_blocks": len(last),
        "attention_resolutions": tuple(height // 2**level for level in attentions),
    }


def _numbers(tensors: Mapping[str, Tensor], pattern: str) -> list[tuple[int, ...]]:
    """The numbers in names that begin with `pattern`, each tuple once, in order."""
    found = (re.match(pattern, name) for name in tensors)
    return sorted({tuple(map(int, match.groups())) for match in found if match})
