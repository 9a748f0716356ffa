"""The initializers against the published one, and what they promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.core.noise import Noise
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.sum import InitializerSum
from modules.initializers.unet import UNet
from modules.layers.attention import SelfAttention
from modules.schedules.cosine import CosineSchedule
from tests.golden_weights import golden, golden_label, load_cdrl_unet, load_toy_initializer

torch.set_num_threads(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unet_parity(dtype: torch.dtype) -> None:
    recorded = golden("cdrl_cond")
    transition = CosineSchedule(6).transition(recorded["in.t"], dtype)
    transition = replace(transition, logsnr_t=recorded["in.logsnr_t"].to(dtype))
    x, wanted = recorded["in.x"].to(dtype), recorded["out.unet"]
    with torch.no_grad():
        net = load_cdrl_unet(recorded).to(dtype)
        got = net(x, transition, golden_label(recorded["in.label"]))
    # of the network's own part, x_t taken off
    assert (got - wanted).norm() / (wanted - x).norm() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_toy_parity(dtype: torch.dtype) -> None:
    recorded = golden("cdrl_toy")
    transition = CosineSchedule(6).transition(recorded["in.t"], dtype)
    transition = replace(transition, logsnr_t=recorded["in.logsnr_t"].to(dtype))
    x, wanted = recorded["in.x"].to(dtype), recorded["out.g"]
    with torch.no_grad():
        got = load_toy_initializer(recorded).to(dtype)(x, transition)
    assert (got - wanted).norm() / (wanted - x).norm() < 1e-5


def test_proposals_without_noise_are_the_mean() -> None:
    transition = CosineSchedule(6).transition(torch.tensor([1, 4, 6]))
    noise, mean = Noise(0, torch.arange(3)), torch.ones(3, 1, 8, 8)
    quiet = [
        UNet((1, 8, 8), dim=32, dim_mults=(1,), num_blocks=1, proposal_noise=False),
        MLPInitializer((1, 8, 8), proposal_noise=False),
    ]
    for initializer in quiet:
        assert torch.equal(initializer.propose(mean, transition, noise), mean)
    both = InitializerSum([quiet[1], quiet[1]], (0.5, 0.5))
    assert torch.equal(both.propose(mean, transition, noise), mean)
    with pytest.raises(ConfigurationError, match=r"InitializerSum.*proposal_noise"):
        InitializerSum([quiet[1], MLPInitializer((1, 8, 8))], (0.5, 0.5))


def test_paper_size() -> None:
    with torch.device("meta"):
        net = UNet((3, 32, 32))
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(3.8e6, abs=0.05e6)


@pytest.mark.parametrize("num_classes", [0, 10])
@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_every_published_resolution_builds(num_classes: int, resolution: int) -> None:
    with torch.device("meta"):
        net = UNet((3, resolution, resolution), num_classes)
    # levels are R, R/2, R/4; at 16 and 8: three attentions down, four up; and one in the middle
    levels = sum(resolution // 2**i in (16, 8) for i in range(3))
    assert sum(isinstance(m, SelfAttention) for m in net.modules()) == 7 * levels + 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: UNet((1, 8, 8), dim=32, dim_mults=(1, 2), num_blocks=1),
        lambda: UNet((2, 12, 8), 3, dim=8, dim_mults=(1, 2, 1), num_blocks=2, groups=4),
        lambda: MLPInitializer((2,)),
        lambda: MLPInitializer((1, 8, 8), 10, width=32),
        lambda: MLPInitializer((2,), width=32, groups=8, embed_width=16),
        lambda: CopyInitializer((3, 4, 4)),
    ],
)
def test_starts_at_x_t(make) -> None:
    torch.manual_seed(0)
    net = make()
    x = torch.randn(3, *net.shape)
    assert torch.equal(net(x, CosineSchedule(6).transition(torch.tensor([1, 4, 6]))), x)


def test_blocks_start_as_their_shortcuts() -> None:
    """With the last convolution drawn anew, second convolutions at zero keep dropout without effect."""
    torch.manual_seed(0)
    net = UNet((1, 8, 8), dim=32, dim_mults=(1, 1), num_blocks=1, dropout=0.5).train()
    torch.nn.init.normal_(net.head.weight)
    x, transition = torch.randn(2, 1, 8, 8), CosineSchedule(6).transition(torch.tensor([2, 5]))
    assert torch.equal(net(x, transition), net.eval()(x, transition))


# Of the published U-Net (dim 64) fresh from its constructor: the standard deviation of a layer's weight, the
# largest bias. Layers that occur again have the same.
PUBLISHED_START = {
    "stem": (0.1127, 0.185),
    "embedding.dense1": (0.07203, 0.1241),
    "embedding.dense2": (0.036, 0.06222),
    "down.0.block.conv1": (0.02412, 0.03828),
    "down.0.block.film": (0.03605, 0.0625),
    "down.0.block.conv2": (0.0, 0.04074),
    "up.0.block.conv1": (0.01703, 0.02914),
    "up.0.block.shortcut": (0.05104, 0.08649),
    "middle1.attention.qkv": (0.07205, 0.1239),
    "middle1.attention.out": (0.0, 0.1244),
    "head": (0.0, 0.03374),
}
ZERO_BIAS = {"conv2", "head"}  # on purpose


def test_it_starts_as_published() -> None:
    torch.manual_seed(0)
    net = UNet((3, 32, 32))
    for name, (spread, reach) in PUBLISHED_START.items():
        layer = net.get_submodule(name)
        assert layer.weight.std(correction=0).item() == pytest.approx(spread, rel=0.04), name
        bias = layer.bias.abs().max().item()
        assert bias == (0 if name.split(".")[-1] in ZERO_BIAS else pytest.approx(reach, rel=0.15)), name
    for module in net.modules():
        if isinstance(module, SelfAttention):
            assert (module.out.weight == 0).all()


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    net = UNet((1, 8, 8), dim=32, dim_mults=(1, 1), num_blocks=1, dropout=0.5)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    x, transition = torch.randn(2, 1, 8, 8), CosineSchedule(6).transition(torch.tensor([2, 5]))
    net.train()
    assert not torch.allclose(net(x, transition), net(x, transition))
    net.eval()
    assert torch.equal(net(x, transition), net(x, transition))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (1, 10, 8)}, ["10x8", "multiple of 4"]),
        ({"shape": (2,)}, ["shape", "(2,)"]),
        ({"dim": 48}, ["UNet.groups", "32 groups", "48 channels"]),
        ({"dim_mults": ()}, ["dim_mults"]),
        ({"dim_mults": 1}, ["dim_mults", "1"]),
        ({"dim_mults": (1, 0)}, ["dim_mults", "0"]),
        ({"attention_resolutions": 16}, ["attention_resolutions", "16"]),
        ({"dropout": 1.5}, ["dropout", "1.5"]),
        ({"num_blocks": 0}, ["num_blocks"]),
        ({"groups": 0}, ["groups"]),
        ({"num_heads": 0}, ["UNet.num_heads", "at least 1"]),
        ({"num_heads": 5}, ["UNet.num_heads 5", "divide", "32"]),
    ],
)
def test_faults_of_the_unet_are_named(options: dict, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        UNet(**({"shape": (1, 8, 8), "dim": 32} | options))
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"width": 0}, "width"),
        ({"depth": 1.0}, "depth"),
        ({"activation": "x"}, "activation"),
        ({"embed_width": 0}, "embed_width"),
        ({"groups": -1}, "groups"),
        ({"groups": 7}, "groups: 7 groups don't divide"),
        ({"proposal_noise": 0}, "proposal_noise"),
    ],
)
def test_faults_of_the_mlp_are_named(options: dict, word: str) -> None:
    with pytest.raises(ConfigurationError, match=f"MLPInitializer.{word}"):
        MLPInitializer((2,), **options)
