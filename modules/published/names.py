"""What CDRL's published code calls the tensors of its two networks."""

from __future__ import annotations

import re

from modules.energies.resnet import CooperativeResNet
from modules.initializers.unet import UNet
from modules.layers.unet import UNetStage

_ENERGY_LAYERS = {
    "stem": "module_list.0",
    "embedding.dense1": "temb_map1",
    "embedding.dense2": "temb_map2",
    "embedding.label": "y_map",
    "head": "temb_final",
}
_BLOCK_LAYERS = {"time": "temb_map", "shortcut": "short_cut"}
_SPECTRAL = {"weight": "weight_orig", "u": "weight_u", "v": "weight_v"}
_UNET_LAYERS = {
    "stem": "init_conv",
    "embedding.dense1": "time_mlp.1",
    "embedding.dense2": "time_mlp.3",
    "embedding.label": "y_mlp.0",
    "norm": "norm",
    "head": "final_conv",
    "middle1.block": "mid_block1",
    "middle1.attention": "mid_attn",
    "middle2": "mid_block2",
}
_UNET_INNER = {"film": "mlp.1", "shortcut": "res_conv", "qkv": "to_qkv", "out": "to_out"}


def energy_names(network: CooperativeResNet) -> dict[str, str]:
    """The energy's own key -> the published one, of every tensor of its state.

    Stage i of ours is module_list.(i+1) there: pools take a number in both.
    """
    state, names = network.state_dict(), {}
    for key in state:
        layer, _, tensor = key.rpartition(".")
        if f"{layer}.u" in state:
            tensor = _SPECTRAL.get(tensor, tensor)
        if match := re.fullmatch(r"stages\.(\d+)(?:\.(\w+))?", layer):
            inner = f"{_BLOCK_LAYERS.get(match[2], match[2])}.{tensor}" if match[2] else "g"
            names[key] = f"module_list.{int(match[1]) + 1}.{inner}"
        else:
            names[key] = f"{_ENERGY_LAYERS[layer]}.{tensor}"
    return names


def unet_names(network: UNet) -> dict[str, str]:
    """The U-Net's own key -> the published one, of every tensor of its state.

    There a level's parts are numbered in call order, the one that resamples last; ours are flat.
    """
    layers = dict(_UNET_LAYERS)
    prefixes = {id(module): name for name, module in network.named_modules()}
    for way, stages in (("downs", network.down), ("ups", network.up)):
        level = place = 0
        for stage in stages:
            assert isinstance(stage, UNetStage)
            for part in (stage.block, stage.attention):
                if part is not None:
                    layers[prefixes[id(part)]] = f"{way}.{level}.{place}"
                    place += 1
            if stage.block.resample is not None:
                level, place = level + 1, 0
    names = {}
    for key in network.state_dict():
        layer = max((name for name in layers if key.startswith(f"{name}.")), key=len)
        first, dot, rest = key.removeprefix(f"{layer}.").partition(".")
        names[key] = f"{layers[layer]}.{_UNET_INNER.get(first, first)}{dot}{rest}"
    return names
