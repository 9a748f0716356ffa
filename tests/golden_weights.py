"""The published networks' recorded weights, read into ours.

The recorded key names are those of the published checkpoints (CDRL), or of a plain listing (DRL).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from modules.energies.drl_resnet import RecoveryResNet
from modules.energies.resnet import CooperativeResNet
from modules.initializers.unet import UNet
from modules.layers.residual import ResidualBlock
from modules.layers.spectral import SpectralNormalized, converge

Golden = dict[str, Tensor]
_FOLDER = Path(__file__).parent / "golden"
_IMAGE = (3, 32, 32)


def golden(name: str) -> Golden:
    """The recorded tensors of tests/golden/NAME.safetensors."""
    return load_file(_FOLDER / f"{name}.safetensors")


def golden_label(recorded: Tensor) -> Tensor:
    """Recorded labels have 0 for none; ours -1."""
    return recorded - 1


def load_cdrl_energy(recorded: Golden) -> CooperativeResNet:
    """The recorded CDRL energy, conditional where the recording is; u and v as they come."""
    classes = recorded["ebm.y_map.weight_orig"].shape[1] - 1 if "ebm.y_map.weight_orig" in recorded else 0
    net = CooperativeResNet(_IMAGE, classes, channels=16, channel_mult=(1, 2, 2, 2), num_blocks=1)
    names: dict[str, nn.Module | None] = {
        "module_list.0": net.stem,
        "temb_map1": net.embedding.dense1,
        "temb_map2": net.embedding.dense2,
        "y_map": net.embedding.label,
        "temb_final": net.head,
    }
    for i, stage in enumerate(net.stages, start=1):
        if isinstance(stage, ResidualBlock):
            names |= {f"module_list.{i}.{old}": getattr(stage, new) for old, new in _CDRL_BLOCK.items()}
            with torch.no_grad():
                stage.gain.copy_(recorded[f"ebm.module_list.{i}.g"].flatten())
    left = {k for k in recorded if k.startswith("ebm.") and not k.endswith(".g")}
    for name, layer in names.items():
        if layer is not None:
            left -= _read(layer, recorded, f"ebm.{name}.")
    assert not left, f"left over: {sorted(left)}"
    return net.eval()


_CDRL_BLOCK = {"conv1": "conv1", "conv2": "conv2", "temb_map": "time", "short_cut": "shortcut"}
_TENSORS = {"weight": "weight", "weight_orig": "weight", "weight_u": "u", "weight_v": "v", "bias": "bias"}


def _read(layer: nn.Module, recorded: Golden, prefix: str) -> set[str]:
    """Copy every recorded tensor of one layer; returns the keys read."""
    found = {prefix + old: new for old, new in _TENSORS.items() if prefix + old in recorded}
    layer.load_state_dict({new: recorded[key] for key, new in found.items()})  # strict: all of the layer
    return set(found)


def load_cdrl_unet(recorded: Golden) -> UNet:
    """The recorded CDRL initializer, conditional where the recording is."""
    classes = recorded["unet.y_mlp.0.weight"].shape[1] - 1 if "unet.y_mlp.0.weight" in recorded else 0
    net = UNet(_IMAGE, classes, dim=32, dim_mults=(1, 1), num_blocks=1)
    names: dict[str, nn.Module | None] = {
        "init_conv": net.stem,
        "time_mlp.1": net.embedding.dense1,
        "time_mlp.3": net.embedding.dense2,
        "y_mlp.0": net.embedding.label,
        "norm": net.norm,
        "final_conv": net.head,
    }
    # recorded by level, in call order; ours flat: a level's entries are blocks, attentions, a resampling
    stages = {
        "downs.0": [net.down[0], net.down[1]],
        "downs.1": [net.down[2]],
        "ups.0": [net.up[0], net.up[1], net.up[2]],
        "ups.1": [net.up[3], net.up[4]],
    }
    for level, members in stages.items():
        parts = [part for m in members for part in (m.block, m.attention) if part is not None]
        names |= {f"{level}.{i}": part for i, part in enumerate(parts)}
    names |= {
        "mid_block1": net.middle1.block,
        "mid_attn": net.middle1.attention,
        "mid_block2": net.middle2,
    }
    state: dict[str, Tensor] = {}
    prefixes = {id(module): name for name, module in net.named_modules()}
    renamed = {"mlp.1": "film", "res_conv": "shortcut", "to_qkv": "qkv", "to_out": "out"}
    for key, value in recorded.items():
        if not key.startswith("unet."):
            continue
        key = key.removeprefix("unet.")
        name = max((n for n in names if key.startswith(n + ".")), key=len)
        rest = key.removeprefix(name + ".")
        for old, new in renamed.items():
            if rest.startswith(old + "."):
                rest = new + rest.removeprefix(old)
        state[f"{prefixes[id(names[name])]}.{rest}"] = value
    net.load_state_dict(state)  # strict: every tensor on both sides
    return net.eval()


def load_drl_energy(recorded: Golden) -> RecoveryResNet:
    """The recorded DRL energy. The vectors u and v weren't recorded, only that they had converged."""
    net = RecoveryResNet(_IMAGE, channels=16, channel_mult=(1, 2, 2, 2), num_blocks=1)
    blocks = [stage for stage in net.stages if isinstance(stage, ResidualBlock)]
    names: dict[str, nn.Module | None] = {
        "stem": net.stem,
        "embed.0": net.embedding.dense1,
        "embed.1": net.embedding.dense2,
        "head": net.head,
    }
    for i, block in enumerate(blocks):
        for part in ("conv1", "conv2", "time", "shortcut"):
            names[f"levels.{i}.0.{part}"] = getattr(block, part)
    with torch.no_grad():
        for name, layer in names.items():
            if layer is None:
                continue
            layer.weight.copy_(recorded[f"{name}.weight"])
            layer.bias.copy_(recorded[f"{name}.bias"])
            if isinstance(layer, SpectralNormalized):
                assert layer.bounded == bool(recorded[f"{name}.lower_bound"])
        for i, block in enumerate(blocks):
            block.gain.copy_(recorded[f"levels.{i}.0.conv2.scale"])
    converge(net, tolerance=1e-9, max_iterations=10_000)
    return net.eval()
