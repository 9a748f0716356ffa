"""The published networks' recorded weights, read into ours.

The recorded key names are those of the published checkpoints (CDRL), or of a plain listing (DRL).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from modules.energies.dense_resnet import DenseResNet
from modules.energies.drl_resnet import RecoveryResNet
from modules.energies.resnet import CooperativeResNet
from modules.initializers.mlp import MLPInitializer
from modules.initializers.unet import UNet
from modules.layers.residual import ResidualBlock
from modules.layers.spectral import SpectralNormalized, converge
from modules.published.names import energy_names, unet_names
from modules.published.sizes import energy_sizes, unet_sizes

Golden = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)
_FOLDER = Path(__file__).parent / "golden"


def golden(name: str) -> Golden:
    """The recorded tensors of tests/golden/NAME.safetensors."""
    return load_file(_FOLDER / f"{name}.safetensors")


def golden_label(recorded: Tensor) -> Tensor:
    """Recorded labels have 0 for none; ours -1."""
    return recorded - 1


def image_shape(recorded: Golden) -> tuple[int, int, int]:
    """(channels, height, width) of the recorded images."""
    channels, height, width = recorded["in.x"].shape[1:]
    return channels, height, width


def _numbers(recorded: Golden, pattern: str) -> list[tuple[int, ...]]:
    """The numbers in the recorded names that begin with `pattern`, each tuple once, in order."""
    found = (re.match(pattern, key) for key in recorded)
    return sorted({tuple(map(int, match.groups())) for match in found if match})


def load_cdrl_energy(recorded: Golden) -> CooperativeResNet:
    """The recorded CDRL energy, of the sizes that its tensors have; u and v as they come."""
    tensors = _of(recorded, "ebm.")
    net = CooperativeResNet(image_shape(recorded), **energy_sizes(tensors))
    return _filled(net, energy_names(net), tensors)


def load_cdrl_unet(recorded: Golden) -> UNet:
    """The recorded CDRL initializer, of the sizes that its tensors have."""
    tensors, shape = _of(recorded, "unet."), image_shape(recorded)
    net = UNet(shape, **unet_sizes(tensors, shape[1]))
    return _filled(net, unet_names(net), tensors)


def _of(recorded: Golden, prefix: str) -> Golden:
    return {key.removeprefix(prefix): value for key, value in recorded.items() if key.startswith(prefix)}


def _filled(net: Network, names: dict[str, str], tensors: Golden) -> Network:
    """The network with every recorded tensor; a gain has another shape there."""
    assert set(names.values()) == set(tensors)
    state = {key: tensors[names[key]].reshape(value.shape) for key, value in net.state_dict().items()}
    net.load_state_dict(state)
    return net.eval()


_TENSORS = {"weight": "weight", "weight_orig": "weight", "weight_u": "u", "weight_v": "v", "bias": "bias"}


def _read(layer: nn.Module, recorded: Golden, prefix: str) -> set[str]:
    """Copy every recorded tensor of one layer; returns the keys read."""
    found = {prefix + old: new for old, new in _TENSORS.items() if prefix + old in recorded}
    layer.load_state_dict({new: recorded[key] for key, new in found.items()})  # strict: all of the layer
    return set(found)


def load_toy_energy(recorded: Golden) -> DenseResNet:
    """The recorded energy of CDRL's toy; u and v as they come."""
    width = recorded["ebm.module_list.0.bias"].shape[0]
    blocks = _numbers(recorded, r"ebm\.module_list\.(\d+)\.conv1")
    mult = [recorded[f"ebm.module_list.{i}.conv1.bias"].shape[0] // width for (i,) in blocks]
    net = DenseResNet((recorded["in.x"].shape[1],), width=width, width_mult=mult)
    names = {
        "module_list.0": net.stem,
        "temb_map1": net.embedding.dense1,
        "temb_map2": net.embedding.dense2,
        "final_dense": net.head,
    }
    inner = {"conv1": "dense1", "conv2": "dense2", "temb_map": "time", "short_cut": "shortcut"}
    for (i,), block in zip(blocks, net.blocks, strict=True):
        names |= {f"module_list.{i}.{old}": getattr(block, new) for old, new in inner.items()}
        with torch.no_grad():
            block.gain.copy_(recorded[f"ebm.module_list.{i}.g"].flatten())
    left = {k for k in recorded if k.startswith("ebm.") and not k.endswith(".g")}
    for name, layer in names.items():
        if layer is not None:
            left -= _read(layer, recorded, f"ebm.{name}.")
    assert not left, f"left over: {sorted(left)}"
    return net.eval()


def load_toy_initializer(recorded: Golden) -> MLPInitializer:
    """The recorded initializer of CDRL's toy, whose last layer has no bias: ours is zero."""
    width, size = recorded["p.h1.weight"].shape
    embed_width, embed_dim = recorded["p.temb_map.0.weight"].shape
    net = MLPInitializer(
        (size,), width=width, depth=1, embed_dim=embed_dim, embed_width=embed_width, groups=32
    )
    names = {
        "h1": "stem",
        "temb_map.0": "embedding.dense1",
        "temb_map.2": "embedding.dense2",
        "final_dense": "head",
        "module_list.0.mlp.1": "blocks.0.film",
        "module_list.0.conv1": "blocks.0.dense1",
        "module_list.0.conv2": "blocks.0.dense2",
        "module_list.0.norm1": "blocks.0.norm1",
        "module_list.0.norm2": "blocks.0.norm2",
    }
    state = {}
    for key, value in recorded.items():
        if key.startswith("p."):
            name, kind = key.removeprefix("p.").rsplit(".", 1)
            state[f"{names[name]}.{kind}"] = value
    net.load_state_dict({"head.bias": torch.zeros(size), **state})  # strict: every tensor on both sides
    return net.eval()


def load_drl_energy(recorded: Golden) -> RecoveryResNet:
    """The recorded DRL energy. The vectors u and v weren't recorded, only that they had converged."""
    channels = recorded["stem.weight"].shape[0]
    places = _numbers(recorded, r"levels\.(\d+)\.(\d+)\.conv1")
    mult = [recorded[f"levels.{level}.0.conv1.bias"].shape[0] // channels for level, i in places if i == 0]
    net = RecoveryResNet(
        image_shape(recorded), channels=channels, channel_mult=mult, num_blocks=len(places) // len(mult)
    )
    blocks = [stage for stage in net.stages if isinstance(stage, ResidualBlock)]
    names: dict[str, nn.Module | None] = {
        "stem": net.stem,
        "embed.0": net.embedding.dense1,
        "embed.1": net.embedding.dense2,
        "head": net.head,
    }
    for (level, i), block in zip(places, blocks, strict=True):
        for part in ("conv1", "conv2", "time", "shortcut"):
            names[f"levels.{level}.{i}.{part}"] = getattr(block, part)
    with torch.no_grad():
        for name, layer in names.items():
            if layer is None:
                continue
            layer.weight.copy_(recorded[f"{name}.weight"])
            layer.bias.copy_(recorded[f"{name}.bias"])
            if isinstance(layer, SpectralNormalized):
                assert layer.bounded == bool(recorded[f"{name}.lower_bound"])
        for (level, i), block in zip(places, blocks, strict=True):
            block.gain.copy_(recorded[f"levels.{level}.{i}.conv2.scale"])
    converge(net, tolerance=1e-9, max_iterations=10_000)
    return net.eval()
