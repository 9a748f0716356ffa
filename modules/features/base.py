"""What a feature extractor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from modules.core.checks import CheckpointError, ConfigurationError, DataError


@dataclass(frozen=True)
class Extracted:
    """Of n samples: features (n, d) float32, and logits (n, classes) where there is a classifier."""

    features: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """An opened extractor.

    Attributes:
        extract: 8-bit images (n, c, h, w), or points (n, d), on the device -> Extracted.
        protocol: what a value by these features is worth nothing without: extractor, weights' hash, resize.
        has_logits: whether they come with logits.
        maps: images -> outputs (n, c, h, w) or (n, c) of several layers, where the extractor has any.
    """

    extract: Callable[[Tensor], Extracted]
    protocol: dict[str, Any]
    has_logits: bool
    maps: Callable[[Tensor], list[Tensor]] | None = None


class Extractor(ABC):
    """Features to be opened. Making one reads nothing."""

    @abstractmethod
    def open(self, shape: tuple[int, ...], device: torch.device) -> Features:
        """Read the weights and put them on a device, for samples of a shape.

        Raises:
            ConfigurationError, CheckpointError: a shape it can't take; weights that are missing or don't fit.
        """


def loaded(make: Callable[[], nn.Module], weights: Mapping[str, Tensor], device: torch.device) -> nn.Module:
    """A frozen network with given weights; initial ones, which would draw random numbers, are never made."""
    with torch.device("meta"):
        network = make()
    network.load_state_dict(weights, assign=True)
    return frozen(network, device)


def frozen(network: nn.Module, device: torch.device) -> nn.Module:
    """The network in eval mode, without gradients, on a device."""
    return network.requires_grad_(False).eval().to(device)


def outputs_of(
    network: nn.Module, layers: Sequence[str], run: Callable[[Tensor], Any]
) -> Callable[[Tensor], list[Tensor]]:
    """What calls `run` and gives the outputs of modules inside the network, by their names."""
    inside = dict(network.named_modules())

    def call(images: Tensor) -> list[Tensor]:
        caught: dict[str, Tensor] = {}

        def catch(name: str, out: Tensor) -> None:
            caught[name] = out.float().clone()  # what comes next may work in place

        # for this call alone: maps are large
        hooks = [
            inside[name].register_forward_hook(lambda module, given, out, name=name: catch(name, out))
            for name in layers
        ]
        try:
            run(images)
        finally:
            for hook in hooks:
                hook.remove()
        return [caught[name] for name in layers]

    return call


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a .safetensors file, or of what torch.save wrote of a state; nothing is executed.

    Raises:
        CheckpointError: no such file, or one that holds something else, or a NaN or an infinity.
    """
    if not path.is_file():
        raise CheckpointError(f"weights: there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(tensors, dict) or not all(isinstance(v, Tensor) for v in tensors.values()):
            raise CheckpointError(f"{path} holds something else than named tensors")
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise CheckpointError(f"{path}: {name} holds values that are not finite")
    except (OSError, SafetensorError, RuntimeError, EOFError, KeyError, UnpicklingError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise CheckpointError(f"{path} holds no readable weights: {reason[:200]}") from fault
    return dict(tensors)


def check_bytes(images: Tensor) -> None:
    """Raise unless images are of 8 bits: floats in [-1, 1] would be taken for black ones."""
    if images.dtype != torch.uint8:
        raise DataError(
            f"features are those of uint8 images, got {str(images.dtype).removeprefix('torch.')}: "
            "quantize them first (modules.data.quantization.to_bytes)"
        )


def check_images(name: str, shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    """Raise unless samples are images with one of these numbers of channels."""
    if len(shape) != 3 or shape[0] not in channels:
        wanted = " or ".join(map(str, channels))
        raise ConfigurationError(
            f"{name} takes images with {wanted} channels, the data has shape {shape}: choose another "
            "Evaluation.extractor, such as @RawPixels()"
        )
