"""A checkpoint file of CDRL's published code: weights, averages and optimizers of its two networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from modules.core.checks import CheckpointError

_GROUPS = {"energy": "pi", "initializer": "p"}
_VECTORS = (".weight_u", ".weight_v")  # of spectral norm: buffers


@dataclass(frozen=True)
class Learnt:
    """What was learnt of one network, by the published names of its tensors.

    Attributes:
        weights: the last ones, spectral norm's vectors among them.
        averages: of the parameters, which have the vectors of `weights`.
        moments: of every parameter what Adam keeps ("step", "exp_avg", "exp_avg_sq"); empty where the file
            has no optimizer.
        num_updates: how often it was updated.
    """

    weights: dict[str, Tensor]
    averages: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    num_updates: int


@dataclass(frozen=True)
class Published:
    """A published checkpoint: of "energy" and "initializer" what was learnt."""

    path: Path
    networks: dict[str, Learnt]


def read(path: Path) -> Published:
    """The file, on the CPU, read by torch's loader of weights alone: nothing in it is run.

    Raises:
        CheckpointError: it can't be read, holds more than weights, or isn't laid out as the published ones.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as fault:
        raise CheckpointError(
            f"{path} holds more than weights, which may be code, and is not read: save its state_dicts alone"
        ) from fault
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as fault:
        raise CheckpointError(f"{path} is no checkpoint of PyTorch, or is not whole: {fault}") from fault
    try:
        return Published(path, {name: _learnt(content, group) for name, group in _GROUPS.items()})
    except (KeyError, TypeError, AttributeError, IndexError) as fault:
        raise CheckpointError(
            f"{path} is not laid out as CDRL's published checkpoints, which have pi_state_dict, p_state_dict "
            f"and their averages pi_ema_state_dict, p_ema_state_dict ({type(fault).__name__}: {fault})"
        ) from fault


def _learnt(content: Mapping[str, Any], group: str) -> Learnt:
    weights = {name.removeprefix("module."): t for name, t in content[f"{group}_state_dict"].items()}
    parameters = [name for name in weights if not name.endswith(_VECTORS)]
    ema = content[f"{group}_ema_state_dict"]
    shadow = ema["shadow_params"]
    if len(shadow) != len(parameters) or any(
        mean.shape != weights[name].shape for name, mean in zip(parameters, shadow, strict=True)
    ):
        raise KeyError(f"{len(shadow)} averages of {len(parameters)} parameters, or of other shapes")
    averages = {**weights, **dict(zip(parameters, shadow, strict=True))}
    state = content.get(f"{group}_optimizer", {}).get("state", {})
    moments = {parameters[index]: _moments(kept) for index, kept in state.items()}
    steps = [int(kept["step"]) for kept in moments.values()]
    return Learnt(weights, averages, moments, max(steps, default=int(ema["num_updates"] or 0)))


def _moments(kept: Mapping[str, Any]) -> dict[str, Tensor]:
    """Adam's state of a parameter; its step was a plain number in older versions of torch."""
    return {**kept, "step": torch.as_tensor(kept["step"], dtype=torch.float32)}
