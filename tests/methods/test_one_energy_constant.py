"""One energy's constant: found of live and averaged weights, once a step, of examples spread over all."""

from __future__ import annotations

import copy

import pytest
import torch

from modules.core.noise import Noise
from modules.core.types import Batch
from modules.data.base import MemoryExamples
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.methods import one_energy
from modules.runtime.runtime import Runtime
from modules.training.ema import EMA
from modules.training.optimizers import AdamW
from modules.training.state import Training
from tests.methods.quadratic import COUNT, LABEL, Quadratic, batch_of, method_of

torch.set_num_threads(1)


def _examples() -> MemoryExamples:
    noise = Noise(1, torch.arange(300))
    label = noise.integers("label", 0, 3)
    centre = torch.tensor([[0.8, -0.5], [-0.2, 0.4], [0.3, 0.3]])[label]
    return MemoryExamples(centre + 0.2 * noise.normal("x", (2,)), label, ["a", "b", "c"])


def _training() -> Training:
    torch.manual_seed(0)
    energy = NormalizedEnergy(MLPEnergy((2,), 3, width=8, depth=1, level_waves=30.0), width=8)
    return Training(method_of(energy), {"energy": AdamW(lr=1e-2)}, EMA(0.5), Runtime(trackers=()), 0)


def _train(training: Training, steps: int, complete: bool) -> None:
    x = batch_of().image.float()
    for _ in range(steps):
        training.step([Batch(x, LABEL)], [range(COUNT)])
        if complete:
            training.complete(_examples())


def test_completing_sets_both_constants_and_changes_no_training(monkeypatch) -> None:
    """Of the live and of the averaged weights, each by itself; steps after it are what they were."""
    monkeypatch.setattr(one_energy, "_CALIBRATION", 300)
    plain, completed = _training(), _training()
    _train(plain, 3, complete=False)
    generator = torch.get_rng_state()
    _train(completed, 3, complete=True)
    assert torch.equal(torch.get_rng_state(), generator)
    for group, tensors in completed.tensors().items():
        for name, value in tensors.items():
            assert torch.equal(value, plain.tensors()[group][name]) != name.endswith("constant"), (
                f"{group}/{name}"
            )
    live, average = (completed.tensors()[g]["constant"] for g in ("energy", "energy_ema"))
    assert live.shape == (4,) and not torch.equal(live, average)
    # each is what calibration finds of these weights alone
    for network, found in ((completed.networks["energy"], live), (completed.averages["energy"], average)):
        fresh = copy.deepcopy(network)
        assert isinstance(fresh, NormalizedEnergy)
        images, labels = _examples().rows(torch.arange(300))
        fresh.calibrate(images, labels[:, 0], -5.1, Noise(0, torch.arange(300), stream="calibration"))
        torch.testing.assert_close(fresh.constant, found)


def test_a_constant_is_found_once_a_step_and_anew_after_going_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the live and of the averaged weights each: the best step is saved twice."""
    training, calls = _training(), []
    calibrate = NormalizedEnergy.calibrate
    monkeypatch.setattr(
        NormalizedEnergy, "calibrate", lambda self, *given: calls.append(self) or calibrate(self, *given)
    )
    begun = copy.deepcopy((training.tensors(), training.numbers()))
    for step in (1, 2):
        _train(training, 1, complete=True)
        training.complete(_examples())
        assert len(calls) == 2 * step
    constant = training.tensors()["energy"]["constant"].clone()
    training.restore(*begun)
    _train(training, 2, complete=False)
    training.complete(_examples())
    assert len(calls) == 6 and torch.equal(training.tensors()["energy"]["constant"], constant)


def test_energies_without_a_constant_are_left_alone() -> None:
    method = method_of(Quadratic(), level_score=None)
    before = copy.deepcopy(method.state_dict())
    method.complete(method.networks(), _examples(), torch.device("cpu"))
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


def test_the_constant_is_measured_on_examples_spread_over_all(monkeypatch) -> None:
    """Four of ten: 0, 2, 5 and 7, with their own labels and noises, at the ladder's noisiest level."""
    asked: list[tuple] = []
    energy = NormalizedEnergy(Quadratic(3)).double()
    monkeypatch.setattr(energy, "calibrate", lambda *given: asked.append(given))
    monkeypatch.setattr(one_energy, "_CALIBRATION", 4)
    x, label = torch.arange(20.0).reshape(10, 2) / 20, torch.arange(10) % 3
    method = method_of(energy)
    method.complete(method.networks(), MemoryExamples(x, label, ["a", "b", "c"]), torch.device("cpu"))
    ((images, labels, logsnr_min, noise),) = asked
    rows = [0, 2, 5, 7]
    assert torch.equal(images, x[rows].double()) and labels.tolist() == [0, 2, 2, 1]
    assert logsnr_min == -5.1
    wanted = Noise(0, torch.tensor(rows), stream="calibration", dtype=torch.float64)
    assert torch.equal(noise.normal("a", (2,)), wanted.normal("a", (2,)))
