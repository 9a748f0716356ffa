"""Features from any torch module that an import path leads to: torchvision's, timm's, one's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gin
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from modules.core.checks import (
    CheckpointError,
    ConfigurationError,
    check_bool,
    check_instance,
    check_integer,
    nearest,
)
from modules.core.code import object_named
from modules.core.fingerprints import code_of, digest
from modules.core.generators import own_generators
from modules.features.base import (
    Extracted,
    Extractor,
    Features,
    check_bytes,
    check_images,
    frozen,
    outputs_of,
    read_weights,
)


@gin.register
class ModuleFeatures(Extractor):
    """What a torch module computes from images, or one of the modules inside it.

    Images, 8-bit, become (x/255 - mean)/std after the resize. Features of maps (n, d, h, w) are averaged over
    the map.

    Args:
        model: import path of what returns a module when called: a class of modules, a class's own
            constructor, or a model of torchvision or timm, such as "torchvision.models.resnet18" or
            "timm.create_model". A run's saved configuration may not name it (see modules/core/code.py).
        arguments: it is called with, such as {"weights": "DEFAULT"} or {"model_name": "resnet18"}.
        weights: a .safetensors file of its state, or one that torch.save wrote; None: as it is made.
        layer: name of the inner module whose output are the features, such as "avgpool"; None: the output.
        layers: names of inner modules whose outputs perceptual distances compare; empty: none.
        gives_logits: whether the output are logits of classes, so that metrics of classes can use it.
        size: of the square that images are resized to (bilinear, antialiased); None: as they are.
        mean, std: of the channels, in [0, 1].
    """

    code_parameters = ("model", "arguments")
    path_parameters = ("weights",)

    def __init__(
        self,
        model: str,
        arguments: Mapping[str, Any] | None = None,
        weights: str | None = None,
        layer: str | None = None,
        gives_logits: bool = False,
        size: int | None = None,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
        layers: tuple[str, ...] = (),
    ) -> None:
        check_instance("ModuleFeatures.model", model, str)
        check_instance("ModuleFeatures.arguments", arguments, (dict, type(None)))
        check_instance("ModuleFeatures.weights", weights, (str, type(None)))
        check_instance("ModuleFeatures.layer", layer, (str, type(None)))
        check_bool("ModuleFeatures.gives_logits", gives_logits)
        check_instance("ModuleFeatures.layers", layers, (tuple, list))
        if size is not None:
            check_integer("ModuleFeatures.size", size, low=1)
        if len(mean) != len(std):
            raise ConfigurationError("ModuleFeatures.mean and .std must have one number a channel")
        self.model, self.arguments, self.weights = model, dict(arguments or {}), weights
        self.layer, self.gives_logits, self.size = layer, gives_logits, size
        self.mean, self.std, self.layers = tuple(mean), tuple(std), tuple(layers)

    def open(self, shape: tuple[int, ...], device: torch.device) -> Features:
        check_images("ModuleFeatures", shape, (1, len(self.mean)))
        network = self._built()
        if self.weights is not None:
            try:
                network.load_state_dict(read_weights(Path(self.weights).expanduser()))
            except RuntimeError as fault:  # other names or shapes
                reason = " ".join(str(fault).split())[:200]
                raise CheckpointError(f"ModuleFeatures.weights {self.weights}: {reason}") from fault
        hash_of_weights = digest({**network.state_dict(), **dict(network.named_buffers())})
        frozen(network, device)
        for name in (*([self.layer] if self.layer is not None else []), *self.layers):
            self._check_inside(network, name)
        mean, std = (torch.tensor(x, device=device).reshape(-1, 1, 1) for x in (self.mean, self.std))

        @torch.no_grad()
        def run(images: Tensor) -> Tensor:
            check_bytes(images)
            x = images.float() / 255
            if self.size is not None:
                x = interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
            return network((x - mean) / std)

        wanted = [self.layer or "", *([""] if self.gives_logits else [])]  # "" is the whole network
        inner = outputs_of(network, wanted, run)

        def extract(images: Tensor) -> Extracted:
            features, *logits = inner(images)
            if features.ndim == 4:
                features = features.mean((2, 3))
            return Extracted(features.flatten(1), *logits)

        protocol: dict[str, Any] = {"extractor": self.model, "arguments": self.arguments, "layer": self.layer}
        protocol |= {"mean": self.mean, "std": self.std, "code": _code_of(network)}
        resize = f"{self.size}x{self.size}, bilinear, antialiased" if self.size else None
        maps = outputs_of(network, self.layers, run) if self.layers else None
        return Features(
            extract, {**protocol, "weights": hash_of_weights, "resize": resize}, self.gives_logits, maps
        )

    def _built(self) -> nn.Module:
        make = object_named(self.model, "ModuleFeatures.model", _makes_a_network, _NETWORK)
        try:
            with own_generators():  # of the initial weights
                network = make(**self.arguments)
        except Exception as fault:
            reason = " ".join(str(fault).split())[:200]
            raise ConfigurationError(f"ModuleFeatures.model {self.model!r} refused: {reason}") from fault
        check_instance(f"what ModuleFeatures.model {self.model!r} returns", network, nn.Module)
        return network

    def _check_inside(self, network: nn.Module, name: str) -> None:
        inside = [name for name, _ in network.named_modules()]
        if name not in inside:
            raise ConfigurationError(
                f"ModuleFeatures.layer: {self.model} has no module {name!r}.{nearest(name, inside)}"
            )


def _code_of(network: nn.Module) -> str:
    """A hash of the code of all modules inside, but torch's own: weights alone don't say what is computed."""
    kinds = {type(module) for module in network.modules()}
    return code_of(kind for kind in kinds if not kind.__module__.startswith("torch."))


_NETWORK = (
    "a class of torch.nn.Module, such a class's own constructor, or a model of torchvision or timm, such as "
    "torchvision.models.resnet18"
)


def _makes_a_network(found: Any) -> bool:
    """Whether calling it makes a network: a class of modules, its class method, or a listed function."""
    if inspect.ismethod(found):
        found = found.__self__
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    return inspect.isfunction(found) and _is_listed(found.__module__, found.__name__)


def _is_listed(module: str, name: str) -> bool:
    """Whether torchvision or timm lists a function of their models as one that makes a network."""
    if module.startswith("torchvision.models."):
        from torchvision.models import list_models

        return name == "get_model" or name in list_models()
    if module.startswith("timm.models."):
        from timm import is_model

        return name == "create_model" or is_model(name)
    return False
