"""Phases of the warm start: which network learns at which step, and from which loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.initializers.copy import CopyInitializer
from modules.layers.spectral import SpectralLinear
from modules.losses.cooperative import WarmStart
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from tests.methods.recovered import batch_of, method_of, networks_of, noise_of, step_of

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("warm", "learn", "warms"),
    [
        # which networks have losses at steps 0..4, and at which the initializer's is the warm start's
        (None, ["both"] * 5, []),
        (WarmStart(0), ["both"] * 5, []),
        (WarmStart(3), ["initializer"] * 3 + ["both"] * 2, [0, 1, 2]),
        (WarmStart(3, energy_start=0), ["both"] * 5, [0, 1, 2]),
        (WarmStart(3, energy_start=1), ["initializer"] + ["both"] * 4, [0, 1, 2]),
    ],
)
def test_phases_of_the_warm_start(warm: WarmStart | None, learn: list[str], warms: list[int]) -> None:
    """The warm start's loss is blind to the energy, the cooperative one follows the chain."""
    method = method_of(warm)
    cooperative = step_of(method_of(None), 0).losses["initializer"].item()
    for step, names in enumerate(learn):
        losses = step_of(method, step).losses
        assert set(losses) == ({"energy", "initializer"} if names == "both" else {names}), step
        before = losses["initializer"].item()
        assert (before != pytest.approx(cooperative, rel=1e-12)) == (step in warms), step
        head = method.energy.head
        bias = head.bias.detach().clone()
        head.bias.data += 1.0
        changed = step_of(method, step).losses["initializer"].item() != pytest.approx(before, rel=1e-12)
        head.bias.data.copy_(bias)
        assert changed == (step not in warms), step


def test_warm_start_trains_the_proposal_mean_of_the_step() -> None:
    """Its value is the loss of the pair that this step drew, noise of the proposal left out."""
    method = method_of(WarmStart(1))
    batch, noise = batch_of(32), noise_of(32)
    c = method.schedule.transition(noise.integers("t", 1, 7), torch.float64)
    x_t = c.alpha_t[:, None] * batch.image + c.sigma_t[:, None] * noise.normal("eps", (2,))
    wanted = WarmStart(1)(method.initializer(x_t, c), batch.image, x_t, c)
    assert step_of(method, 0).losses["initializer"].item() == pytest.approx(wanted.item(), rel=1e-12)


@pytest.mark.parametrize("step", [0, 1])
def test_each_loss_reaches_its_own_network_alone(step: int) -> None:
    """The chain passes no gradient: neither into the energy from L_g, nor into the initializer from L_f."""
    method = method_of(WarmStart(1, energy_start=0))
    losses = step_of(method, step).losses
    for name, loss in losses.items():
        for owner, network in method.networks().items():
            parameters = list(network.parameters())
            grads = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
            if owner == name:
                assert all(g is not None and (g != 0).any() for g in grads)
            else:
                assert all(g is None for g in grads)


def test_a_copy_learns_nothing() -> None:
    energy, _ = networks_of()
    method = RecoveryLikelihood(energy, CopyInitializer((2,)), CosineSchedule(), Langevin(1), False)
    assert set(method.networks()) == {"energy"} and set(step_of(method, 0).losses) == {"energy"}


def test_a_step_that_only_warms_up_shows_no_chain() -> None:
    assert list(step_of(method_of(WarmStart(1)), 0).shown) == ["noisier", "proposals", "data"]


def _vectors(method: RecoveryLikelihood) -> list[Tensor]:
    return [m.u.clone() for m in method.energy.modules() if isinstance(m, SpectralLinear)]


def test_one_power_iteration_a_step_shared_by_its_micro_batches() -> None:
    method, expected = method_of(None, spectral=True), method_of(None, spectral=True)
    for layer in expected.energy.modules():
        if isinstance(layer, SpectralLinear):
            layer.iterate(1)
    start = _vectors(method)
    method.begin_step(0)
    after = _vectors(method)
    assert all(map(torch.equal, after, _vectors(expected)))
    assert len(start) > 3 and not any(map(torch.equal, start, after))
    for seed in (0, 1):
        sum(method(batch_of(8, seed), noise_of(8, seed)).losses.values()).backward()
    assert all(map(torch.equal, _vectors(method), after))


def test_an_energy_that_waits_isnt_iterated() -> None:
    method = method_of(WarmStart(2), spectral=True)
    start = _vectors(method)
    method.begin_step(1)
    assert all(map(torch.equal, _vectors(method), start))
    method.begin_step(2)
    assert not any(map(torch.equal, _vectors(method), start))
