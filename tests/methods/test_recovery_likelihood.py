"""The recovery likelihood's training step: levels, averages, what is shown, memory, faults (spec §5)."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import nn

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError
from modules.core.types import Batch
from modules.energies.mlp import MLPEnergy
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.losses.cooperative import CooperativeLoss, WarmStart
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.methods.networks import Networks
from modules.methods.recovery import RecoveryLikelihood
from modules.methods.shown import Panel, first_rows
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from tests.golden_weights import golden
from tests.methods.recovered import Linear, batch_of, method_of, networks_of, noise_of

torch.set_num_threads(1)


def test_levels_are_uniform_and_figures_are_per_sample() -> None:
    count = 6_000
    method = RecoveryLikelihood(
        Linear([0.4, -0.1]), CopyInitializer((2,)), CosineSchedule(), Langevin(1), shared_noise=False
    )
    out = method(batch_of(count), noise_of(count))
    assert stats.chisquare(out.t.bincount()[1:].numpy()).pvalue > 1e-3
    assert (out.t.min(), out.t.max()) == (1, 6)
    assert all(v.shape == (count,) and not v.requires_grad for v in out.watch.values())
    other = method(batch_of(count), noise_of(count, step=1))
    assert (other.t == out.t).double().mean().item() == pytest.approx(1 / 6, abs=0.02)


def test_an_average_revises_the_initializers_proposals_alone() -> None:
    """Two steps of -θ̄/2 each, without noise, from each proposal at the top level: L_g = |θ̄|².

    The energy's own chain is θ's, and without the switch so is the initializer's.
    """
    theta, average = [0.4, -0.2], Linear([3.0, 1.0])
    for switch, wanted in ((True, 10.0), (False, 0.2)):
        method = RecoveryLikelihood(
            Linear(theta),
            MLPInitializer((2,), width=8, depth=1).double(),
            CosineSchedule(1),
            Langevin(2, noise_scale=0.0),
            shared_noise=True,
            average_revises=switch,
        )
        method.averages = {"energy": average}
        method.begin_step(0)
        out = method(batch_of(16), noise_of(16))
        assert out.losses["initializer"].item() == pytest.approx(wanted, rel=1e-9)
        moved = out.shown["revised"] - out.shown["proposals"]
        torch.testing.assert_close(moved, -torch.tensor(theta, dtype=torch.float64).expand(16, 2))


def test_what_is_shown_are_rows_of_the_batch() -> None:
    """Of 20,000 points the first 2,048, x_t and x_s with noise of their level, copies without gradients."""
    method = method_of(None)
    out = method(batch_of(20_000), noise_of(20_000))
    assert list(out.shown) == ["noisier", "proposals", "revised", "data"]
    for x in out.shown.values():
        assert x.shape == (2048, 2) and not x.requires_grad
        assert x.untyped_storage().nbytes() == x.nbytes
    c = method.schedule.transition(out.t[:2048], torch.float64)
    for name, alpha, sigma in (("data", c.alpha_s, c.sigma_s), ("noisier", c.alpha_t, c.sigma_t)):
        noise = (out.shown[name] - alpha[:, None] * batch_of(20_000).image[:2048]) / sigma[:, None]
        assert noise.std().item() == pytest.approx(1, abs=0.05)


def test_models_prefer_averages() -> None:
    method, (energy, _) = method_of(None), networks_of()
    assert method.models() == Networks(method.energy, method.initializer, method.schedule)
    assert method.models({"energy": energy}) == Networks(energy, method.initializer, method.schedule)


def _built(**changes) -> RecoveryLikelihood:
    energy, initializer = networks_of()
    arguments = {
        "energy": energy,
        "initializer": initializer,
        "schedule": CosineSchedule(),
        "sampler": Langevin(1),
        "shared_noise": True,
    }
    return RecoveryLikelihood(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"energy": MLPEnergy}, ["RecoveryLikelihood.energy", "@MLPEnergy()"]),
        ({"initializer": 3}, ["RecoveryLikelihood.initializer", "Initializer", "3"]),
        ({"schedule": None}, ["RecoveryLikelihood.schedule", "None"]),
        ({"sampler": Langevin}, ["RecoveryLikelihood.sampler", "@Langevin()"]),
        ({"shared_noise": 1}, ["RecoveryLikelihood.shared_noise", "True or False"]),
        ({"average_revises": 1}, ["RecoveryLikelihood.average_revises", "True or False"]),
        (
            {"initializer": CopyInitializer((2,)), "average_revises": True},
            ["RecoveryLikelihood.average_revises", "parameters"],
        ),
        ({"label_dropout": 1.1}, ["RecoveryLikelihood.label_dropout", "at most 1"]),
        ({"warm_start": 100}, ["RecoveryLikelihood.warm_start", "WarmStart", "100"]),
        (
            {"initializer": CopyInitializer((2,)), "warm_start": WarmStart(5)},
            ["RecoveryLikelihood.warm_start", "parameters"],
        ),
    ],
)
def test_faults_are_named(changes: dict, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _built(**changes)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_both_networks_may_be_averages() -> None:
    method, (energy, initializer) = method_of(None), networks_of()
    both = Networks(energy, initializer, method.schedule)
    assert method.models({"energy": energy, "initializer": initializer}) == both
    assert method.models({"initializer": initializer}) == Networks(
        method.energy, initializer, method.schedule
    )
    assert method.models({}) == method.models(None) == method.models()


@pytest.mark.parametrize(("size", "count"), [(2, 2048), (255, 16), (256, 16), (5000, 16), (200, 20)])
def test_first_rows_are_sixteen_or_4096_numbers_in_the_coordinates_of_x_s(size: int, count: int) -> None:
    """At t = 5 of CDRL's ladder y is 0.59 of x_s; x_t and the data are as they are."""
    c = CosineSchedule().transition(torch.full((3000,), 5), torch.float64)
    x = torch.ones(3000, 1, dtype=torch.float64).expand(3000, size)
    shown = first_rows(3 * x, {"one": x, "two": 2 * x}, 4 * x, c)
    assert list(shown) == ["noisier", "one", "two", "data"]
    scale = golden("cdrl_schedule")["alpha_ratio"][4].sqrt()
    for name, value in (("noisier", 3.0), ("one", 1 / scale), ("two", 2 / scale), ("data", 4.0)):
        assert shown[name].shape == (count, size)
        torch.testing.assert_close(shown[name], value * x[:count], rtol=1e-5, atol=0)
    alone = first_rows(x[:1], {"one": x[:1]}, x[:1], c.map(lambda v: v[:1]))
    assert {v.shape for v in alone.values()} == {(1, size)}
    assert Panel("title", ("a",)).healthy == ""


def test_what_it_was_made_with_is_kept() -> None:
    energy, initializer = networks_of()
    given = {
        "energy": energy,
        "initializer": initializer,
        "schedule": CosineSchedule(),
        "sampler": Langevin(1),
        "shared_noise": False,
        "energy_loss": RecoveryLikelihoodLoss(),
        "initializer_loss": CooperativeLoss(),
        "warm_start": WarmStart(3),
        "label_dropout": 0.3,
        "save_memory": True,
        "compile": False,
        "average_revises": True,
    }
    assert arguments_of(RecoveryLikelihood(**given), "") == given
    plain = arguments_of(RecoveryLikelihood(*list(given.values())[:5]), "")
    assert isinstance(plain["energy_loss"], RecoveryLikelihoodLoss)
    assert isinstance(plain["initializer_loss"], CooperativeLoss)
    assert list(plain.values())[7:] == [None, 0.1, False, False, False]


def test_saving_memory_gives_the_same_numbers() -> None:
    """Losses and gradients of both networks, in float64 to rounding, from one evaluation and from two."""
    found = []
    for save_memory in (False, True):
        torch.manual_seed(0)
        networks = MLPEnergy((2,), 3, width=8, depth=1), MLPInitializer((2,), 3, width=8, depth=1)
        for network in networks:
            for p in network.double().parameters():
                nn.init.normal_(p, std=0.5)
        parts = (*networks, CosineSchedule(), Langevin(1), True)
        method = RecoveryLikelihood(*parts, label_dropout=0.0, save_memory=save_memory)
        method.begin_step(0)
        losses = method(Batch(batch_of(16).image, torch.arange(16) % 3), noise_of(16)).losses
        assert set(losses) == {"energy", "initializer"}
        sum(losses.values()).backward()
        found.append([*losses.values(), *(p.grad for p in method.parameters())])
    assert len(found[0]) > 10
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
