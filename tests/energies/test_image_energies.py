"""Energies of image networks: gradients written out equal autograd's, and teach as those do (spec §13)."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.checks import ConfigurationError
from modules.core.types import SelfDifferentiating
from modules.energies.base import Energy, Slopes
from modules.energies.image import ImageEnergy, NetworkEnergy
from modules.energies.recovery import energy_and_grad
from modules.energies.unet import UNetEnergy
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.levels import level

torch.set_num_threads(1)

IMAGE = (2, 8, 4)
LABEL = torch.tensor([0, -1, 2, 1])
LOGSNR = torch.tensor([6.0, 1.5, -0.7, -4.0], dtype=torch.float64)


class Small(nn.Module):
    """A user's network: convolutions, bent by the level and the label."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 2, 3, padding=1)
        self.level = nn.Linear(1, 5)
        self.label = nn.Embedding(num_classes + 1, 5) if num_classes else None

    def forward(self, x: Tensor, logsnr: Tensor, label: Tensor | None = None) -> Tensor:
        bend = torch.sin(self.level(logsnr[:, None]))
        if self.label is not None:
            bend = bend + self.label(torch.zeros_like(logsnr).long() if label is None else label + 1)
        return self.outer(F.silu(self.inner(x) * (1 + bend[:, :, None, None])))


def _unet(form: str, data_var: float | None, num_classes: int = 3) -> UNetEnergy:
    """Two resolutions, so that it halves and doubles, and attention at both."""
    return UNetEnergy(IMAGE, num_classes, form, data_var, 8, (1, 2), 1, (8, 4), groups=4)


def _network(form: str, data_var: float | None, num_classes: int = 3) -> NetworkEnergy:
    return NetworkEnergy(Small(num_classes), IMAGE, num_classes, form, data_var)


MAKE = {"U-Net": _unet, "user's": _network}
FORMS = [("product", None), ("product", 0.3), ("residual", None), ("residual", 0.3)]
every = pytest.mark.parametrize(("name", "form", "data_var"), [(n, *f) for n in MAKE for f in FORMS])


def _awake(energy: nn.Module) -> nn.Module:
    """In float64, every parameter moved off its start."""
    torch.manual_seed(0)
    energy.double()
    with torch.no_grad():
        for p in energy.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return energy


def _made(name: str, form: str, data_var: float | None, num_classes: int = 3) -> ImageEnergy:
    return _awake(MAKE[name](form, data_var, num_classes))


def _x(count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, *IMAGE, generator=generator, dtype=torch.float64)


def _h(energy: ImageEnergy, x: Tensor, logsnr: Tensor, label: Tensor | None) -> Tensor:
    """The network's own forward, differentiable by autograd in everything."""
    if isinstance(energy, NetworkEnergy):
        return energy.net(x, logsnr, label) if energy.num_classes else energy.net(x, logsnr)
    assert isinstance(energy, UNetEnergy)
    waves = energy.level_waves * (logsnr + 10) / 20
    return energy.layers.evaluate(x, energy.layers.embedding(waves, label))


def _written_down(energy: ImageEnergy, x: Tensor, logsnr: Tensor, label: Tensor | None) -> Tensor:
    """E from spec §13 and the class's docstring, v's completed square in place of the class's own terms."""
    alpha_bar, noise_var = torch.sigmoid(logsnr), torch.sigmoid(-logsnr)
    wide = (-1, 1, 1, 1)
    if energy.data_var is None:
        h = _h(energy, x, logsnr, label)
        if energy.form == "product":
            return (0.5 * x * x + x * h).flatten(1).sum(1)
        return (0.5 * (x + h) ** 2).flatten(1).sum(1)
    total = alpha_bar * energy.data_var + noise_var
    h = _h(energy, x / total.sqrt().reshape(wide), logsnr, label)
    h = h * (alpha_bar * energy.data_var / total).sqrt().reshape(wide)
    gaussian = 0.5 * (noise_var.sqrt() / total) * (x * x).flatten(1).sum(1)
    rest = x * h if energy.form == "product" else 0.5 * (x + h) ** 2 - 0.5 * x * x
    return gaussian + rest.flatten(1).sum(1)


def _by_autograd(energy: ImageEnergy, x: Tensor, logsnr: Tensor, label: Tensor | None) -> Slopes:
    x, logsnr = x.detach().requires_grad_(), logsnr.detach().requires_grad_()
    value = _written_down(energy, x, logsnr, label)
    return Slopes(value, *torch.autograd.grad(value.sum(), (x, logsnr), create_graph=True))


def _close(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(
        got, wanted, rtol=tolerance, atol=tolerance * max(1.0, float(wanted.detach().abs().max()))
    )


@every
@pytest.mark.parametrize("labels", [True, False])
def test_slopes_are_autograds(name: str, form: str, data_var: float | None, labels: bool) -> None:
    """E, ∇E and ∂E/∂λ; with labels and without a network for them."""
    energy = _made(name, form, data_var, 3 if labels else 0)
    label = LABEL if labels else None
    wanted, got = _by_autograd(energy, _x(), LOGSNR, label), energy.slopes(_x(), LOGSNR, label)
    for one, other in ((got.value, wanted.value), (got.in_x, wanted.in_x), (got.in_level, wanted.in_level)):
        _close(one, other, 1e-12)
    assert wanted.in_level.abs().min() > 1e-3  # nothing compared with zero


@every
def test_a_loss_of_slopes_has_the_double_backwards_gradients(name, form, data_var) -> None:
    """∇E and ∂E/∂λ are forward values: one ordinary backward gives what a derivative of derivatives does."""
    energy = _made(name, form, data_var)
    parameters = dict(energy.named_parameters())
    found = []
    for slopes in (_by_autograd(energy, _x(), LOGSNR, LABEL), energy.slopes(_x(), LOGSNR, LABEL)):
        assert slopes.in_level is not None
        loss = ((slopes.in_x - 0.3) ** 2).sum() + ((slopes.in_level - 0.7) ** 2).sum() + slopes.value.sum()
        found.append(torch.autograd.grad(loss, list(parameters.values()), allow_unused=True))
    for key, wanted, got in zip(parameters, *found, strict=True):
        assert wanted is not None and got is not None, key
        _close(got, wanted, 1e-10)


@every
def test_snapshot_is_the_energy(name: str, form: str, data_var: float | None) -> None:
    """`at` in y = y_scale x_s: value, gradient by autograd and written out, without a graph."""
    energy = _made(name, form, data_var)
    transition = CosineSchedule().transition(torch.tensor([1, 3, 6, 2]), torch.float64)  # y_scale < 1
    y = _x().requires_grad_()
    scale = transition.y_scale.reshape(-1, 1, 1, 1)
    value = _written_down(energy, y / scale, transition.logsnr_s, LABEL)
    (wanted,) = torch.autograd.grad(value.sum(), y)
    bound = energy.at(transition, LABEL)
    assert isinstance(bound, SelfDifferentiating)
    again = bound(y)
    _close(again, value, 1e-12)
    _close(torch.autograd.grad(again.sum(), y)[0], wanted, 1e-12)
    _close(energy(y.detach(), transition, LABEL), value, 1e-12)
    for context in (torch.enable_grad, torch.no_grad):
        with context():
            for got in (bound.value_and_grad(y.detach()), energy_and_grad(bound, y)):
                assert not any(part.requires_grad or part.grad_fn for part in got)
                _close(got[0], value.detach(), 1e-12)
                _close(got[1], wanted, 1e-12)


@every
def test_chains_save_nothing_for_a_backward(name: str, form: str, data_var: float | None) -> None:
    """No tensor that a weight's gradient would need is kept along a chain; a loss of energies keeps some."""
    energy = _made(name, form, data_var)
    transition = ContinuousSchedule().transition(torch.tensor([1, 3, 6, 2]), torch.float64)
    saved: list[Tensor] = []
    with torch.no_grad():
        bound = energy.at(transition, LABEL)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        value, slope = bound.value_and_grad(_x())
        if name == "U-Net":  # a user's network goes through a graph of its own, gone with the call
            assert not saved
        energy(_x(), transition, LABEL)
        assert saved
    assert value.grad_fn is None and slope.grad_fn is None
    assert all(p.grad is None for p in energy.parameters())


@pytest.mark.parametrize("name", MAKE)
def test_data_without_gradients_teach_the_weights(name: str) -> None:
    """Recovery's contrast: E of plain data, learnt by its weights."""
    energy = _made(name, "residual", 0.3)
    transition = ContinuousSchedule().transition(torch.tensor([1, 3, 6, 2]), torch.float64)
    parameters = list(energy.parameters())
    grads = torch.autograd.grad(energy(_x(), transition, LABEL).sum(), parameters)
    wanted = torch.autograd.grad(_written_down(energy, _x(), transition.logsnr_s, LABEL).sum(), parameters)
    for one, other in zip(grads, wanted, strict=True):
        _close(one, other, 1e-11)


class Bare(Energy):
    """A user's energy that has forward alone."""

    def __init__(self) -> None:
        super().__init__(IMAGE)
        self.weight = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, y, transition, label=None):
        return (torch.sin(self.weight * y) * transition.logsnr_s.reshape(-1, 1, 1, 1)).flatten(1).sum(1)


def test_dropout_is_one_mask_for_value_slope_and_level_slope() -> None:
    energy = _awake(UNetEnergy(IMAGE, 3, "product", 0.3, 8, (1, 2), 1, (8, 4), groups=4, dropout=0.4))
    x, logsnr = _x().requires_grad_(), LOGSNR.clone().requires_grad_()
    kept = energy(x, level(logsnr), LABEL)
    torch.manual_seed(3)
    slopes = energy.slopes(x, logsnr, LABEL)
    torch.manual_seed(3)
    value = energy(x, level(logsnr), LABEL)
    in_x, in_level = torch.autograd.grad(value.sum(), (x, logsnr))
    assert not torch.allclose(kept, value)  # another mask
    for got, wanted in ((slopes.value, value), (slopes.in_x, in_x), (slopes.in_level, in_level)):
        _close(got, wanted, 1e-12)


@pytest.mark.parametrize("learning", [True, False])
def test_chains_and_averages_are_without_dropout(learning: bool) -> None:
    energy = _awake(UNetEnergy(IMAGE, 0, "product", 0.3, 8, (1, 2), 1, (), groups=4, dropout=0.4))
    plain = UNetEnergy(IMAGE, 0, "product", 0.3, 8, (1, 2), 1, (), groups=4).double()
    plain.load_state_dict(energy.state_dict())
    energy.train(learning)
    with torch.set_grad_enabled(not learning):  # what chains are made of; what is evaluated after training
        for a, b in zip(_both(energy), _both(plain), strict=True):
            assert torch.equal(a, b)


def _both(energy: UNetEnergy) -> tuple[Tensor, Tensor]:
    return energy_and_grad(energy.at(level(LOGSNR)), _x())


def test_an_energy_with_forward_alone_has_slopes_too() -> None:
    """E = Σ λ sin(w x): ∇E = λ w cos(w x), ∂E/∂λ = Σ sin(w x), and d/dw of the slopes' sums."""
    energy, x, w = Bare(), _x(), 0.7
    with torch.no_grad():  # whoever asks, it can be learnt from
        found = energy.slopes(x, LOGSNR)
    wide = LOGSNR.reshape(-1, 1, 1, 1)
    _close(found.in_x, wide * w * torch.cos(w * x), 1e-12)
    _close(found.in_level, torch.sin(w * x).flatten(1).sum(1), 1e-12)
    (grad,) = torch.autograd.grad(found.in_x.sum() + 2 * found.in_level.sum(), energy.weight)
    wanted = (wide * (torch.cos(w * x) - w * x * torch.sin(w * x)) + 2 * x * torch.cos(w * x)).sum()
    _close(grad, wanted, 1e-12)


@pytest.mark.parametrize("form", ["product", "residual"])
@pytest.mark.parametrize("data_var", [None, 0.3])
def test_a_fresh_u_net_is_a_gaussian_at_every_level(form: str, data_var: float | None) -> None:
    """E/σ̄ is -log N(0, ᾱv + σ̄²) up to a constant; spec §13's own form begins as N(0, σ̄)."""
    torch.manual_seed(0)
    energy = UNetEnergy(IMAGE, 0, form, data_var, 8, (1, 2), 1, (4,), groups=4).double()
    x = _x().requires_grad_()
    value = energy(x, level(LOGSNR)) / torch.sigmoid(-LOGSNR).sqrt()
    (slope,) = torch.autograd.grad(value.sum(), x)
    variance = torch.sigmoid(-LOGSNR).sqrt()
    if data_var is not None:
        variance = torch.sigmoid(LOGSNR) * data_var + torch.sigmoid(-LOGSNR)
    torch.testing.assert_close(slope, x / variance.reshape(-1, 1, 1, 1), rtol=1e-12, atol=0)


class Deaf(nn.Module):
    """A network that doesn't look at the level."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor, logsnr: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))


@pytest.mark.parametrize("form", ["product", "residual"])
def test_a_users_network_may_ignore_the_level(form: str) -> None:
    energy = _awake(NetworkEnergy(Deaf(), IMAGE, 0, form, 0.3))
    wanted, got = _by_autograd(energy, _x(), LOGSNR, None), energy.slopes(_x(), LOGSNR)
    _close(got.in_level, wanted.in_level, 1e-12)
    plain = _awake(NetworkEnergy(Deaf(), IMAGE, 0, form, None))
    assert (plain.slopes(_x(), LOGSNR).in_level == 0).all()


@pytest.mark.parametrize("frozen", [True, False])
def test_slopes_of_frozen_weights(frozen: bool) -> None:
    """A trained run's weights ask for no gradients; its slopes are the same numbers."""
    for name in MAKE:
        energy = _made(name, "product", 0.3)
        wanted = energy.slopes(_x(), LOGSNR, LABEL)
        energy.requires_grad_(not frozen)
        with torch.no_grad():
            got = energy.slopes(_x(), LOGSNR, LABEL)
        _close(got.in_x, wanted.in_x, 1e-12)
        _close(got.in_level, wanted.in_level, 1e-12)
        assert not got.in_x.requires_grad and not got.in_level.requires_grad


def _compare(run, energy: UNetEnergy, tolerance: float) -> None:
    slopes = [call(_x(), LOGSNR, LABEL) for call in (energy.slopes, run)]
    parameters = list(energy.parameters())
    grads = []
    for found in slopes:
        loss = ((found.in_x - 0.3) ** 2).sum() + found.in_level.square().sum()
        grads.append(torch.autograd.grad(loss, parameters))
    _close(slopes[1].in_x, slopes[0].in_x, tolerance)
    for eager, ours in zip(*grads, strict=True):
        _close(ours, eager, tolerance)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_slopes_are_the_eager_ones() -> None:
    """In one graph, and learnt from by one ordinary backward."""
    energy = _awake(UNetEnergy(IMAGE, 3, "residual", 0.3, 8, (1, 1), 1, (), groups=4))
    _compare(torch.compile(energy.slopes, dynamic=False, fullgraph=True), energy, 1e-11)


def test_bfloat16_stays_near_float32() -> None:
    """∇E, ∂E/∂λ and the weights' gradients under autocast; measured: 1.0%, 3.3% and 4.4% off, in norm."""
    energy = copy.deepcopy(_made("U-Net", "product", 0.3)).float()
    x, logsnr = _x().float(), LOGSNR.float()
    parameters, found = list(energy.parameters()), []
    for on in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            slopes = energy.slopes(x, logsnr, LABEL)
            loss = ((slopes.in_x - 0.3) ** 2).sum() + slopes.in_level.square().sum()
        grads = torch.autograd.grad(loss, parameters)
        assert slopes.in_x.dtype == torch.float32 and slopes.value.dtype == torch.float32
        found.append((slopes.in_x, slopes.in_level, torch.cat([g.flatten() for g in grads])))
    distances = [float(((b - a).norm() / a.norm()).detach()) for a, b in zip(*found, strict=True)]
    assert all(0 < d < limit for d, limit in zip(distances, (0.03, 0.1, 0.13), strict=True)), distances


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: UNetEnergy(IMAGE, form="sum"), ["UNetEnergy.form", "product", "sum"]),
        (lambda: UNetEnergy(IMAGE, data_var=0.0), ["UNetEnergy.data_var", "above 0"]),
        (lambda: UNetEnergy(IMAGE, level_waves=0), ["UNetEnergy.level_waves", "above 0"]),
        (lambda: UNetEnergy((2,)), ["UNetEnergy.shape", "(channels, height, width)"]),
        (lambda: UNetEnergy((1, 6, 6), dim_mults=(1, 1, 1)), ["UNetEnergy.dim_mults", "multiple of 4"]),
        (lambda: UNetEnergy(IMAGE, dim=12), ["UNetEnergy.groups", "8 groups", "12 channels"]),
        (lambda: NetworkEnergy("net", IMAGE), ["NetworkEnergy.network", "Module"]),
        (lambda: _unet("product", None, 0).slopes(_x(), LOGSNR, LABEL), ["num_classes=0"]),
        (lambda: _network("product", None, 0).slopes(_x(), LOGSNR, LABEL), ["num_classes=0"]),
    ],
)
def test_faults_are_named(make, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
