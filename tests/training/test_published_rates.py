"""The papers' recipes: rates and averages of their first updates, as the published codes make them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from modules import config
from modules.training.ema import EMA
from modules.training.optimizers import Optimizer

GIN = Path(__file__).resolve().parents[2] / "gin"


def _of(name: str, *overrides: str) -> tuple[dict[str, Optimizer], EMA]:
    loaded = config.load([GIN / f"{name}.gin"], overrides)
    return loaded.value("Trainer.optimizers"), loaded.value("Trainer.ema")


@pytest.mark.parametrize(
    ("name", "network", "lr", "warm_up"),
    [
        ("cdrl_cifar10", "energy", 1e-4, lambda step: min(1.0, step / 10_000)),
        ("cdrl_cifar10", "initializer", 1e-5, lambda step: min(1.0, (step + 500) / 10_000)),
        ("cdrl_imagenet32", "energy", 1e-4, lambda step: min(1.0, step / 10_000)),
        ("cdrl_imagenet32", "initializer", 1e-5, lambda step: min(1.0, (step + 500) / 10_000)),
        ("drl_cifar10", "energy", 1e-4, lambda step: min(1.0, step / 1_000)),
    ],
)
def test_rates_of_the_first_20_updates(name, network, lr, warm_up):
    """Beside torch's scheduler driven as the published loop drives it: an update, then a step of the rate."""
    weight = nn.Parameter(torch.zeros(1))
    theirs = torch.optim.Adam([weight], lr)
    scheduler = LambdaLR(theirs, warm_up)
    ours = _of(name)[0][network].start(nn.ParameterList([nn.Parameter(torch.zeros(1))]))
    rates = []
    for _ in range(20):
        rates.append(theirs.param_groups[0]["lr"])
        weight.grad = ours.parameters[0].grad = torch.ones(1)
        assert ours.step() == pytest.approx(rates[-1], rel=1e-12)
        theirs.step()
        scheduler.step()
        torch.testing.assert_close(ours.parameters[0].detach(), weight.detach(), rtol=1e-6, atol=0)
    assert (rates[0] == 0) == (network == "energy") and rates[19] > rates[1] > rates[0]


@pytest.mark.parametrize("name", ["cdrl_cifar10", "cdrl_imagenet32"])
def test_averages_of_50_updates(name):
    """torch_ema's rule d_n = (1 + n)/(10 + n), n = 1, 2, ..., in closed form.

    After N updates the start has the share 10! (N + 1)!/(N + 10)!, and the weights after update k the share
    9 (k + 2)(k + 3)...(k + 9) (N + 1)!/(N + 10)!.
    """
    optimizers, ema = _of(name)
    network = nn.Linear(3, 2).double()
    average = EMA.copy_of(network)
    seen = [network.weight.detach().clone()]
    updater = optimizers["initializer"].start(network)
    for k in range(1, 51):
        network.weight.grad = torch.full((2, 3), float(k % 7 - 3), dtype=torch.float64)
        updater.step(lr_factor=1e5)
        ema.update(average, network, updater.num_updates)
        seen.append(network.weight.detach().clone())
    shares = [math.factorial(10) * math.factorial(51) / math.factorial(60)]
    for k in range(1, 51):
        shares.append(9 * math.prod(range(k + 2, k + 10)) * math.factorial(51) / math.factorial(60))
    assert sum(shares) == pytest.approx(1)
    wanted = sum(share * weight for share, weight in zip(shares, seen, strict=True))
    torch.testing.assert_close(average.weight, wanted, rtol=1e-12, atol=0)


def test_cdrl_ramps_and_drl_does_not():
    """At the first update CDRL's average keeps 2/11 of the start, DRL's 0.999."""
    for name, kept in (("cdrl_cifar10", 2 / 11), ("drl_cifar10", 0.999)):
        live, start = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()
        nn.init.zeros_(live.weight)
        nn.init.ones_(start.weight)
        average = EMA.copy_of(start)
        _of(name)[1].update(average, live, 1)
        assert average.weight.item() == pytest.approx(kept, rel=1e-12), name
