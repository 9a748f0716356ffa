"""A published checkpoint taken over into the state of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from modules.core.checks import CheckpointError, ConfigurationError
from modules.energies.resnet import CooperativeResNet
from modules.initializers.unet import UNet
from modules.published.checkpoint import Learnt, Published
from modules.published.names import energy_names, unet_names
from modules.published.sizes import energy_sizes, unet_sizes
from modules.training.saved import load_weights
from modules.training.state import Training


def adopt(training: Training, published: Published) -> None:
    """Take over weights, averages, optimizers and the number of steps.

    Raises:
        ConfigurationError: the configured networks are of another kind.
        CheckpointError: they have other sizes than the file's; the message has the settings that fit.
    """
    for name, network in training.networks.items():
        learnt = published.networks[name]
        names = _names(network)
        _check_sizes(published, network, names, learnt)
        for target, tensors in (
            (network, learnt.weights),
            (training.averages[name], learnt.averages),
        ):
            load_weights(target, {name: _ours(target, names, tensors)}, name)
        updater = training.updaters[name]
        kept = dict[str, Tensor]()
        for index, (key, parameter) in enumerate(network.named_parameters()):
            for field, value in learnt.moments.get(names[key], {}).items():
                kept[f"{index}.{field}"] = value if field == "step" else value.reshape(parameter.shape)
        updater.restore(name, kept, learnt.num_updates if kept else 0)
    training.num_steps_done = published.networks["energy"].num_updates


def _names(network: nn.Module) -> dict[str, str]:
    if isinstance(network, CooperativeResNet):
        return energy_names(network)
    if isinstance(network, UNet):
        return unet_names(network)
    raise ConfigurationError(
        f"the configuration has {type(network).__name__}; the published checkpoints are of CooperativeResNet "
        "and UNet: name a gin file that includes models/cooperative_resnet.gin"
    )


def _check_sizes(published: Published, network: nn.Module, names: dict[str, str], learnt: Learnt) -> None:
    """Raise unless the file's tensors are those of the network, with the settings that would fit."""
    mine = {names[key]: value for key, value in network.state_dict().items()}
    if {k: v.numel() for k, v in mine.items()} == {k: v.numel() for k, v in learnt.weights.items()}:
        return
    of = type(network).__name__
    try:
        wanted, found = (_sizes(network, tensors) for tensors in (learnt.weights, mine))
    except (KeyError, IndexError, ZeroDivisionError):
        wanted = found = {}
    fitting = [
        f"NUM_CLASSES={value}" if argument == "num_classes" else f"{of}.{argument}={value}"
        for argument, value in wanted.items()
        if value != found[argument]
    ]
    if fitting:
        settings = " ".join(f'--set "{binding}"' for binding in fitting)
        raise CheckpointError(f"{published.path} holds a {of} of other sizes than configured: add {settings}")
    odd = sorted(mine.keys() ^ learnt.weights.keys())[:3] or ["the shape of its layers"]
    raise CheckpointError(
        f"{published.path} holds another network than {of}: they differ in {', '.join(odd)}"
    )


def _sizes(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return unet_sizes(tensors, network.shape[1]) if isinstance(network, UNet) else energy_sizes(tensors)


def _ours(network: nn.Module, names: dict[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By our names, in our shapes: a block's gain is (c,) here and (1, c, 1, 1) there."""
    return {key: tensors[names[key]].reshape(value.shape) for key, value in network.state_dict().items()}
