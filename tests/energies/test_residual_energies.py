"""The residual energy networks against the published ones, and what they promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from modules.core.checks import ConfigurationError
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.energies.drl_resnet import RecoveryResNet
from modules.energies.resnet import CooperativeResNet
from modules.layers.attention import SelfAttention
from modules.layers.residual import ConvDownsample, ResidualBlock
from modules.layers.spectral import SpectralNormalized, converge
from modules.schedules.cosine import CosineSchedule
from tests.golden_weights import Golden, golden, golden_label, load_cdrl_energy, load_drl_energy

torch.set_num_threads(1)


def _energy_and_grad(energy: Energy, y: Tensor, transition: Transition, label: Tensor | None = None):
    y = y.clone().requires_grad_()
    e = energy(y, transition, label)
    return e.detach(), torch.autograd.grad(e.sum(), y)[0]


def _recorded_transition(recorded: Golden, dtype: torch.dtype) -> Transition:
    transition = CosineSchedule(6).transition(recorded["in.t"], dtype)
    if "in.logsnr_prev" in recorded:
        transition = replace(transition, logsnr_s=recorded["in.logsnr_prev"].to(dtype))
    return transition


def _relative(got: Tensor, wanted: Tensor) -> float:
    return ((got - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["cdrl_uncond", "cdrl_cond"])
def test_cdrl_parity(name: str, dtype: torch.dtype) -> None:
    recorded = golden(name)
    label = golden_label(recorded["in.label"]) if "in.label" in recorded else None
    energy = load_cdrl_energy(recorded).to(dtype)
    e, grad = _energy_and_grad(
        energy, recorded["in.x"].to(dtype), _recorded_transition(recorded, dtype), label
    )
    assert e.shape == (6,)
    assert _relative(-e, recorded["out.f"]) < 1e-5
    assert _relative(-grad, recorded["out.grad_f"]) < 1e-5


def test_the_quadratic_term() -> None:
    """E gains ½||y||² and its gradient y, by autograd and along chains."""
    torch.manual_seed(0)
    plain = CooperativeResNet((1, 8, 8), channels=8, channel_mult=(1, 2), num_blocks=1).double()
    tied = CooperativeResNet(
        (1, 8, 8), channels=8, channel_mult=(1, 2), num_blocks=1, quadratic=True
    ).double()
    tied.load_state_dict(plain.state_dict())
    transition = CosineSchedule().transition(torch.tensor([1, 4, 6]), torch.float64)
    y = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    for find in (
        lambda net: _energy_and_grad(net, y, transition),
        lambda net: net.at(transition).value_and_grad(y),
    ):
        (e, grad), (e_tied, grad_tied) = find(plain), find(tied)
        torch.testing.assert_close(e_tied - e, 0.5 * y.flatten(1).norm(dim=1) ** 2, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(grad_tied - grad, y, rtol=1e-12, atol=1e-12)


def test_dropout_of_drls_energy() -> None:
    """New masks at each evaluation in training, chains included; their gradients agree; none otherwise."""
    torch.manual_seed(0)
    net = RecoveryResNet((1, 8, 8), channels=8, channel_mult=(1, 2), num_blocks=1, dropout=0.5).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    transition = CosineSchedule().transition(torch.tensor([1, 4, 6]), torch.float64)
    y = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    chain = net.at(transition)
    assert not torch.allclose(net(y, transition), net(y, transition))
    assert not torch.allclose(chain.value_and_grad(y)[1], chain.value_and_grad(y)[1])
    torch.manual_seed(1)
    here = _energy_and_grad(net, y, transition)
    torch.manual_seed(1)
    for got, wanted in zip(chain.value_and_grad(y), here, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    net.eval()
    plain = RecoveryResNet((1, 8, 8), channels=8, channel_mult=(1, 2), num_blocks=1).double()
    plain.load_state_dict(net.state_dict())
    assert torch.equal(net(y, transition), plain(y, transition))


def test_drl_parity() -> None:
    """Gradient in float64: in float32 one ReLU of the recording lies so near 0 that rounding flips it."""
    recorded = golden("drl_uncond")
    transition = _recorded_transition({"in.t": recorded["in.t"] + 1}, torch.float32)
    energy = load_drl_energy(recorded)
    e, _ = _energy_and_grad(energy, recorded["in.x"], transition)
    assert _relative(-e, recorded["out.f"]) < 1e-5
    e, grad = _energy_and_grad(energy.double(), recorded["in.x"].double(), transition)
    assert _relative(-e, recorded["out.f"]) < 1e-5
    assert _relative(-grad, recorded["out.grad_f"]) < 1e-5


def test_drl_weights_as_used() -> None:
    """Recorded normalized weights: of a plain layer, of a bounded one below σ = 1 and of one above."""
    recorded = golden("drl_uncond")
    energy = load_drl_energy(recorded)
    blocks = [s for s in energy.stages if isinstance(s, ResidualBlock)]
    below, above = blocks[0].conv2, blocks[1].conv2
    assert recorded["levels.0.0.conv2.sigma"] < 1 < recorded["levels.1.0.conv2.sigma"]
    pairs = {"stem": energy.stem, "levels.0.0.conv2": below, "levels.1.0.conv2": above}
    for name, layer in pairs.items():
        assert isinstance(layer, SpectralNormalized)
        assert _relative(layer.effective_weight(), recorded[f"{name}.weight_used"]) < 2e-6


def _tiny(kind: type, **changes) -> Energy:
    options = {"shape": (1, 8, 8), "channels": 16, "channel_mult": (1, 2), "num_blocks": 1} | changes
    torch.manual_seed(0)
    return kind(**options)


def _inputs(shape: tuple[int, ...] = (1, 8, 8), dtype=torch.float64) -> tuple[Tensor, Transition]:
    generator = torch.Generator().manual_seed(1)
    y = torch.randn(4, *shape, generator=generator, dtype=dtype)
    return y, CosineSchedule(6).transition(torch.tensor([1, 3, 4, 6]), dtype)


SWITCHES = {
    "plain": {},
    "conv": {"downsample": "conv"},
    "attention": {"attention_resolutions": (8,)},
    "group": {"norm": "group", "channels": 32},
    "instance": {"norm": "instance"},
    "silu": {"activation": "silu", "final_activation": "silu"},
    "nin": {"shortcut_size": 1},
    "free": {"spectral_norm": False},
    "all": {
        "norm": "instance",
        "downsample": "conv",
        "attention_resolutions": (8, 4),
        "activation": "silu",
        "num_classes": 3,
    },
}


@pytest.mark.parametrize("name", SWITCHES)
def test_drl_switches_change_the_network_and_work(name: str) -> None:
    options = SWITCHES[name]
    energy = _tiny(RecoveryResNet, **options).double()
    with torch.no_grad():  # away from the start, where the branches are almost off
        for p in energy.parameters():
            p.add_(0.1 * torch.randn_like(p))
    y, transition = _inputs()
    e, grad = _energy_and_grad(energy, y, transition)
    assert e.shape == (4,) and torch.isfinite(grad).all() and (grad != 0).any()
    kinds = [type(m) for m in energy.modules()]
    assert (ConvDownsample in kinds) == (options.get("downsample") == "conv")
    assert kinds.count(SelfAttention) == len(options.get("attention_resolutions", ()))
    assert (nn.GroupNorm in kinds) == ("norm" in options)
    assert any(issubclass(k, SpectralNormalized) for k in kinds) == (name != "free")
    chain = energy.at(transition)
    torch.testing.assert_close(chain(y), e, rtol=1e-12, atol=1e-12)


def test_drl_starts_as_its_shortcuts() -> None:
    """Without their branches the blocks give the same energy at the start, to 1e-3."""
    energy = _tiny(RecoveryResNet)
    y, transition = _inputs(dtype=torch.float32)
    with torch.no_grad():
        before = energy(y, transition)
        for stage in energy.stages:
            if isinstance(stage, ResidualBlock):
                stage.gain.zero_()
        torch.testing.assert_close(before, energy(y, transition), rtol=1e-3, atol=1e-3)
        assert before.abs().max() > 0.1


@pytest.mark.parametrize("kind", [CooperativeResNet, RecoveryResNet])
@pytest.mark.parametrize("num_classes", [0, 10])
@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_every_published_resolution_builds(kind: type, num_classes: int, resolution: int) -> None:
    with torch.device("meta"):
        energy = kind((3, resolution, resolution), num_classes)
    # the widest level has 2 or 4 times 128 channels, and one downsampling less than levels lies before it
    levels = {32: 4, 64: 5, 128: 6, 256: 7}[resolution]
    widest = 256 if resolution == 32 else 512
    assert sum(not isinstance(s, ResidualBlock) for s in energy.stages) == levels - 1
    assert energy.head.out_features == widest


def test_paper_size() -> None:
    with torch.device("meta"):
        energy = CooperativeResNet((3, 32, 32))
    assert sum(p.numel() for p in energy.parameters()) == pytest.approx(34.8e6, abs=0.05e6)


@pytest.mark.parametrize("kind", [CooperativeResNet, RecoveryResNet])
def test_snapshot_stays_when_the_network_moves(kind: type) -> None:
    energy = _tiny(kind, num_classes=3).double()
    y, transition = _inputs()
    label = torch.tensor([0, -1, 2, 1])
    chain = energy.at(transition, label)
    before = chain(y)
    with torch.no_grad():
        for tensor in [*energy.parameters(), *energy.buffers()]:
            tensor.mul_(1.1).add_(0.01)
    assert torch.equal(chain(y), before)
    assert not torch.allclose(energy(y, transition, label), before)


@pytest.mark.parametrize("kind", [CooperativeResNet, RecoveryResNet])
def test_chain_carries_no_parameter_gradients(kind: type) -> None:
    energy = _tiny(kind)
    y, transition = _inputs(dtype=torch.float32)
    energy.at(transition)(y.requires_grad_()).sum().backward()
    assert y.grad is not None and all(p.grad is None for p in energy.parameters())


@pytest.mark.parametrize("kind", [CooperativeResNet, RecoveryResNet])
def test_training_after_a_chain_under_autocast_keeps_every_gradient(kind: type) -> None:
    """Autocast must not reuse, in training, what it cast without gradients for the chain."""
    energy = _tiny(kind, num_classes=3)
    y, transition = _inputs(dtype=torch.float32)
    label = torch.tensor([0, -1, 2, 1])
    with torch.autocast("cpu", torch.bfloat16):
        energy.at(transition, label)(y)
        e = energy(y, transition, label)
    e.sum().backward()
    assert e.dtype == torch.float32
    for name, p in energy.named_parameters():
        assert p.grad is not None and (p.grad != 0).any(), name


def test_smooth_activations_have_second_derivatives_everywhere() -> None:
    energy = _tiny(
        RecoveryResNet,
        activation="silu",
        final_activation="silu",
        norm="instance",
        attention_resolutions=(4,),
        shape=(1, 4, 4),
    ).double()
    with torch.no_grad():
        for p in energy.parameters():
            p.add_(0.1 * torch.randn_like(p))
    y, transition = _inputs((1, 4, 4))
    one = transition.map(lambda v: v[:1])
    assert torch.autograd.gradgradcheck(lambda v: energy(v, one), (y[:1].requires_grad_(),))
    curved = _tiny(CooperativeResNet, activation="softplus").double()
    hessian = torch.autograd.functional.hessian(lambda v: curved(v[None], one).sum(), _inputs()[0][0])
    assert hessian.abs().max() > 1e-6


def test_colour_and_oblong_images() -> None:
    energy = _tiny(CooperativeResNet, shape=(5, 12, 8)).double()
    y, transition = _inputs((5, 12, 8))
    assert energy(y, transition).shape == (4,)


def test_only_the_level_it_is_made_for_matters() -> None:
    """CDRL reads λ_s alone, DRL t alone."""
    y, transition = _inputs()
    other = _inputs()[1].map(lambda v: v.flip(0))
    for kind, name in ((CooperativeResNet, "logsnr_s"), (RecoveryResNet, "t")):
        energy = _tiny(kind).double()
        same = replace(other, **{name: getattr(transition, name)})
        assert torch.equal(energy(y, same), energy(y, transition))
        assert not torch.allclose(energy(y, other), energy(y, transition))


def test_converging_hardly_moves_a_fresh_network() -> None:
    energy = _tiny(CooperativeResNet).double()
    y, transition = _inputs()
    before = energy(y, transition)
    converge(energy)
    assert _relative(energy(y, transition), before) < 0.02


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": (1, 9, 8)}, ["9x8", "multiple of 2"]),
        ({"shape": (1, 8, 8), "channel_mult": None}, ["8x8", "channel_mult"]),
        ({"shape": (2,)}, ["shape", "(2,)"]),
        ({"channels": 2}, ["channels", "4"]),
        ({"channel_mult": 2}, ["channel_mult", "2"]),
        ({"channel_mult": (1, 0)}, ["channel_mult", "0"]),
        ({"num_blocks": 0}, ["num_blocks", "0"]),
        ({"activation": "sillu"}, ["activation", "'silu'"]),
        ({"num_classes": -1}, ["num_classes", "-1"]),
        ({"spectral_norm": "yes"}, ["spectral_norm", "yes"]),
    ],
)
@pytest.mark.parametrize("kind", [CooperativeResNet, RecoveryResNet])
def test_faults_are_named(kind: type, options: dict, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _tiny(kind, **options)
    message = str(caught.value)
    assert "\n" not in message and kind.__name__ in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "grup"}, ["norm", "'group'"]),
        ({"norm": "group"}, ["32 groups", "16 channels"]),
        ({"downsample": "max"}, ["downsample", "average"]),
        ({"attention_resolutions": 16}, ["attention_resolutions", "(16,)"]),
        ({"shortcut_size": 5}, ["shortcut_size", "5"]),
        ({"final_activation": "swish"}, ["final_activation", "silu"]),
    ],
)
def test_faults_of_drl_switches_are_named(options: dict, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _tiny(RecoveryResNet, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
