"""Inception features with the published weights, from a file or fetched once."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gin
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from modules.core.checks import CheckpointError, ConfigurationError, check_choice, check_instance
from modules.core.generators import own_generators
from modules.features.base import (
    Extracted,
    Extractor,
    Features,
    check_bytes,
    check_images,
    frozen,
    loaded,
    outputs_of,
    read_weights,
)
from modules.features.cache import cache_folder
from modules.features.inception import InceptionNetwork
from modules.storage import durable

URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
LAYERS = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")  # one a size of map
HASH = "6726825d"  # the first digits of the file's SHA-256


@gin.register
class InceptionV3(Extractor):
    """The Inception network of FID: 2,048 features, 1,008 logits.

    Grey images are taken for RGB with equal channels.

    Args:
        weights: the published .pth file or a .safetensors conversion of it; None: the cache folder's, fetched
            on first use.
        network: "torch-fidelity", that of this package, or "own" (modules/features/inception.py), which
            loads the same file and gives the same numbers; None: torch-fidelity's where it is installed.
    """

    path_parameters = ("weights",)

    def __init__(self, weights: str | None = None, network: str | None = None) -> None:
        check_instance("InceptionV3.weights", weights, (str, type(None)))
        check_choice("InceptionV3.network", network, (None, "torch-fidelity", "own"))
        self.weights, self.network = weights, network

    def open(self, shape: tuple[int, ...], device: torch.device) -> Features:
        check_images("InceptionV3", shape, (1, 3))
        make, name = _other_network() if self.network != "own" else (None, "own")
        if self.network == "torch-fidelity" and make is None:
            raise ConfigurationError(
                "InceptionV3.network 'torch-fidelity': the package isn't here: pip install torch-fidelity, "
                "or leave the network out"
            )
        path = Path(self.weights).expanduser() if self.weights else _fetched()
        tensors = _fitting(path)
        network = frozen(make(tensors), device) if make else loaded(InceptionNetwork, tensors, device)

        @torch.no_grad()
        def extract(images: Tensor) -> Extracted:
            check_bytes(images)
            return Extracted(*network(images.expand(-1, 3, -1, -1)))

        resize = "299x299, bilinear as TensorFlow 1, no antialiasing"
        protocol = {"extractor": "InceptionV3", "weights": _sha256(path), "resize": resize, "network": name}
        return Features(extract, protocol, True, outputs_of(network, LAYERS, extract))


def _other_network() -> tuple[Callable[[dict[str, Tensor]], nn.Module] | None, str]:
    """What makes torch-fidelity's network of weights, and its name; None and "own" without the package."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        return None, "own"

    def make(tensors: dict[str, Tensor]) -> nn.Module:
        # it unpickles what it is given: tensors that were read safely, and no file of anybody's
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        buffer.seek(0)
        with own_generators():  # of the initial weights
            return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], buffer)

    return make, f"torch-fidelity {version('torch-fidelity')}"


def _fetched() -> Path:
    """The published file, in the cache folder."""
    path = cache_folder() / URL.rsplit("/", 1)[1]
    if path.exists():
        return path
    advice = f"fetch {URL} where there is a network, then --set 'InceptionV3.weights=\"FILE\"'"
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        raise CheckpointError(f"the Inception weights aren't here and HF_HUB_OFFLINE is set: {advice}")
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(part), hash_prefix=HASH, progress=False)
        part.rename(path)
    except (OSError, RuntimeError) as fault:  # an URLError is an OSError, a wrong hash a RuntimeError
        durable.discard(part)
        reason = " ".join(str(fault).split())[:200]
        raise CheckpointError(f"the Inception weights cannot be fetched ({reason}): {advice}") from fault
    return path


def _fitting(path: Path) -> dict[str, Tensor]:
    """The file's tensors, if they are the network's. A .pth is read once and kept as safetensors."""
    if path.suffix == ".safetensors" or not path.is_file():
        return _checked(read_weights(path), path)
    kept = cache_folder() / f"inception-{_sha256(path)[:16]}.safetensors"
    if kept.exists():
        return _checked(read_weights(kept), path)
    tensors = _checked(read_weights(path), path)
    part = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in tensors.items()}, part)
        part.rename(kept)
    except (OSError, SafetensorError):  # a cache that can't be written is no fault
        durable.discard(part)
    return tensors


def _checked(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors, if they are the network's; counters of batches, of no use here, may be left out."""
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in InceptionNetwork().state_dict().items()}
    counters = {name: torch.tensor(0) for name in wanted if name.endswith("num_batches_tracked")}
    found = {**counters, **tensors}
    for name, shape in wanted.items():
        if name not in found:
            raise CheckpointError(f"{path} are not the weights of FID's Inception: {name} is missing")
        if found[name].shape != shape:
            raise CheckpointError(
                f"{path} are not the weights of FID's Inception: {name} is {tuple(found[name].shape)}, "
                f"not {tuple(shape)}"
            )
    for name in found.keys() - wanted.keys():
        raise CheckpointError(f"{path} are not the weights of FID's Inception: it has {name} besides")
    return found


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            total.update(block)
    return total.hexdigest()
