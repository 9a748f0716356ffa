"""The toy's energy against the published one, and what it promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from modules.core.checks import ConfigurationError
from modules.energies.dense_resnet import DenseResNet
from modules.schedules.cosine import CosineSchedule
from tests.golden_weights import golden, load_toy_energy

torch.set_num_threads(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parity(dtype: torch.dtype) -> None:
    recorded = golden("cdrl_toy")
    transition = CosineSchedule().transition(recorded["in.t"], dtype)
    transition = replace(transition, logsnr_s=recorded["in.logsnr_prev"].to(dtype))
    energy = load_toy_energy(recorded).to(dtype)
    e, grad = energy.at(transition).value_and_grad(recorded["in.x"].to(dtype))
    for got, wanted in ((-e, recorded["out.f"]), (-grad, recorded["out.grad_f"])):
        assert (got - wanted).norm() / wanted.norm() < 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 2}, ["DenseResNet.width", "at least 4"]),
        ({"width_mult": 3}, ["DenseResNet.width_mult", "3"]),
        ({"width_mult": (1, 0)}, ["DenseResNet.width_mult", "0"]),
        ({"activation": "x"}, ["DenseResNet.activation", "x"]),
        ({"spectral_norm": 1}, ["DenseResNet.spectral_norm", "True or False"]),
    ],
)
def test_faults_are_named(options: dict, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DenseResNet((2,), **options)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)
