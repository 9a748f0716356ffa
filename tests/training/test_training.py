"""One optimizer step, its noise, and its state put away and taken back."""

from __future__ import annotations

import copy

import pytest
import torch

from modules.core.checks import CheckpointError, ConfigurationError
from modules.data.digits import Digits
from modules.data.stream import TrainingStream
from modules.energies.resnet import CooperativeResNet
from modules.initializers.unet import UNet
from modules.layers.spectral import SpectralNormalized
from modules.losses.cooperative import WarmStart
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from modules.training.ema import EMA
from modules.training.optimizers import AdamW, Optimizer
from modules.training.state import Training

torch.set_num_threads(1)

ROWS = [range(4), range(4, 8)]


class Descent(Optimizer):
    """Plain gradient descent, an optimizer of a user's own: torch keeps a None as its state."""

    def make(self, parameters):
        return torch.optim.SGD(list(parameters), self.lr)


def _training(
    rule: Optimizer | None = None,
    seed: int = 1,
    init: int = 0,
    dropout: float = 0.2,
    warm_start: WarmStart | None = None,
    precision: str = "no",
    ema: EMA | None = None,
    channels_last: bool | None = None,
    dtype: torch.dtype = torch.float32,
) -> Training:
    torch.manual_seed(init)
    method = RecoveryLikelihood(
        CooperativeResNet((1, 8, 8), 10, channels=8, channel_mult=(1, 2), num_blocks=1),
        UNet((1, 8, 8), 10, dim=8, dim_mults=(1,), num_blocks=1, groups=4, dropout=dropout),
        CosineSchedule(),
        Langevin(2),
        shared_noise=True,
        warm_start=warm_start,
    )
    method.to(dtype)
    rule = rule or AdamW(lr=1e-2, warmup_steps=4, clip_norm=1.0)
    optimizers = {"energy": rule, "initializer": rule}
    return Training(
        method, optimizers, ema or EMA(0.5), Runtime(precision, channels_last=channels_last), seed, dtype
    )


@pytest.fixture(scope="module")
def stream() -> TrainingStream:
    return TrainingStream(Digits(10).open(), 8, seed=1)


def _advance(training: Training, stream: TrainingStream, num_steps: int) -> None:
    batches = stream.iterate(training.num_steps_done, ROWS)
    for _ in range(num_steps):
        training.step(next(batches), ROWS)


def _assert_same(one: Training, other: Training) -> None:
    """Equal to the last bit."""
    assert one.numbers() == other.numbers()
    ours, theirs = one.tensors(), other.tensors()
    assert ours.keys() == theirs.keys()
    for group in ours:
        assert ours[group].keys() == theirs[group].keys()
        for name, value in ours[group].items():
            assert torch.equal(value, theirs[group][name]), f"{group}/{name}"


def _weights(training: Training) -> torch.Tensor:
    """Every parameter of the networks as one vector."""
    return torch.cat([p.detach().flatten() for n in training.networks.values() for p in n.parameters()])


def test_a_seed_gives_one_training(stream):
    one, other, another = _training(), _training(), _training(seed=2)
    _advance(one, stream, 2)
    torch.rand(7)  # the state of the global generator is nobody's business
    for _ in range(2):
        torch.manual_seed(99)
        _advance(other, stream, 1)
    _advance(another, stream, 2)
    _assert_same(one, other)
    assert not torch.equal(_weights(one), _weights(another))


def test_dropout_acts_and_leaves_the_global_generator_alone(stream):
    dropping, plain = _training(), _training(dropout=0.0)
    before = torch.get_rng_state()
    _advance(dropping, stream, 3)
    assert torch.equal(torch.get_rng_state(), before)
    _advance(plain, stream, 3)  # at step 0 zero layers hide what is dropped
    one, other = (dict(t.networks["initializer"].named_parameters()) for t in (dropping, plain))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_dropout_noise_differs_by_seed_step_and_micro_batch():
    runtime, drawn = Runtime(), []
    for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)):
        with runtime.dropout_noise(*key):
            drawn.append(tuple(torch.rand(4).tolist()))
    assert drawn[0] == drawn[-1] and len(set(drawn)) == 4


@pytest.mark.parametrize("rule", [None, Descent(1e-3)], ids=["AdamW", "a user's own"])
def test_resuming_is_exact(stream, rule):
    """Four steps straight, and two, put away, and two more on other initial weights."""
    straight, first = _training(rule), _training(rule)
    _advance(straight, stream, 4)
    _advance(first, stream, 2)
    tensors, numbers = copy.deepcopy(first.tensors()), copy.deepcopy(first.numbers())
    second = _training(rule, init=5)
    second.restore(tensors, numbers)
    _assert_same(first, second)
    _advance(second, stream, 2)
    _assert_same(straight, second)


def test_restore_names_what_does_not_fit(stream):
    training = _training()
    _advance(training, stream, 1)
    numbers = training.numbers()

    def fault(tensors):
        with pytest.raises(CheckpointError) as caught:
            _training().restore(tensors, numbers)
        message = str(caught.value)
        assert "\n" not in message
        return message

    whole = training.tensors()
    assert "no group 'energy'" in fault({k: v for k, v in whole.items() if k != "energy"})
    assert 'optimizer state of the network "initializer"' in fault(
        {k: v for k, v in whole.items() if k != "initializer_optimizer"}
    )
    wider = {**whole["energy"], "head.weight": torch.zeros(3, 3)}
    assert "head.weight" in fault({**whole, "energy": wider})


def test_each_network_needs_its_optimizer():
    method = _training().method
    rule = AdamW()
    for optimizers, expected in (
        ({"energy": rule}, '"initializer"'),
        ({"energy": rule, "initializer": rule, "intializer": rule}, "Did you mean 'initializer'?"),
        ({"energy": rule, "initializer": AdamW}, "must be an Optimizer such as @AdamW()"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            Training(method, optimizers, EMA(), Runtime(), 0)
        assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_sampling_weights_are_copies_with_converged_norms(stream):
    training = _training()
    _advance(training, stream, 2)
    before = copy.deepcopy(training.tensors())
    energy = training.ready_averages()["energy"]
    after = training.tensors()
    for group, tensors in before.items():
        for name, value in tensors.items():
            assert torch.equal(value, after[group][name]), f"{group}/{name}"
    layers = [layer for layer in energy.modules() if isinstance(layer, SpectralNormalized)]
    assert len(layers) > 5
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.effective_weight().flatten(1), 2)
        assert float(largest) == pytest.approx(1, abs=1e-4)
    for mean, ready in zip(training.averages["energy"].parameters(), energy.parameters(), strict=True):
        assert torch.equal(mean, ready) and mean is not ready


def test_averages_follow_each_update(stream):
    """θ̄_2 = d² θ_0 + d (1-d) θ_1 + (1-d) θ_2."""
    training = _training(ema=EMA(0.75))
    theta = [_weights(training)]
    for _ in range(2):
        _advance(training, stream, 1)
        theta.append(_weights(training))
    mean = torch.cat([p.flatten() for n in training.averages.values() for p in n.parameters()])
    expected = 0.5625 * theta[0] + 0.1875 * theta[1] + 0.25 * theta[2]
    torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-6)


def test_a_network_that_does_not_learn_yet_stays_as_it_is(stream):
    training = _training(warm_start=WarmStart(num_steps=2, energy_start=2))
    start = copy.deepcopy(training.tensors())
    _advance(training, stream, 2)
    now = training.tensors()
    for group in ("energy", "energy_ema", "energy_optimizer"):
        assert now[group].keys() == start[group].keys()
        assert all(torch.equal(value, start[group][name]) for name, value in now[group].items()), group
    assert training.numbers()["updates"] == {"energy": 0, "initializer": 2}
    _advance(training, stream, 1)
    assert training.numbers()["updates"] == {"energy": 1, "initializer": 3}
    assert any(not torch.equal(value, start["energy"][name]) for name, value in now["energy"].items())


def test_figures_of_a_step(stream):
    training = _training(AdamW(lr=1e-2, warmup_steps=4))
    batches = stream.iterate(0, ROWS)
    figures, outputs = training.step(next(batches), ROWS)
    assert set(figures) == {
        f"{k}/{n}" for k in ("loss", "grad_norm", "lr") for n in ("energy", "initializer")
    }
    assert figures["lr/energy"] == 0.0025
    assert len(outputs) == 2 and all(output.t.shape == (4,) for output in outputs)
    mean = sum(float(output.losses["initializer"].detach()) for output in outputs) / 2
    assert float(figures["loss/initializer"]) == pytest.approx(mean, rel=1e-6)


def test_bf16_is_near_float32_and_keeps_float32_weights(stream):
    half, full = _training(precision="bf16", dropout=0.0), _training(dropout=0.0)
    batches = stream.batch(0, range(8))
    figures = [t.step([batches], [range(8)])[0] for t in (half, full)]
    for name in ("loss/initializer", "grad_norm/initializer", "grad_norm/energy"):
        low, exact = (float(f[name]) for f in figures)
        assert low != exact and low == pytest.approx(exact, rel=0.05), name
    for group in half.tensors().values():
        assert all(value.dtype == torch.float32 for value in group.values())


def test_threads_are_set_where_asked_and_put_back() -> None:
    before, runtime = torch.get_num_threads(), Runtime(trackers=(), cpu_threads=3)
    assert runtime.device.type in ("cpu", "cuda", "mps") and torch.get_num_threads() == before
    with runtime.threads():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("channels_last", [False, True])
def test_state_goes_from_one_memory_format_to_another(stream, channels_last: bool):
    """Fused optimizers go by memory: moments put away in rows must come back in the parameters' format."""
    formats = {"dropout": 0.0, "dtype": torch.float64}
    first = _training(**formats, channels_last=channels_last)
    _advance(first, stream, 2)
    same = _training(**formats, channels_last=channels_last, init=5)
    other = _training(**formats, channels_last=not channels_last, init=6)
    for training in (same, other):
        training.restore(copy.deepcopy(first.tensors()), first.numbers())
    for training in (first, same, other):
        _advance(training, stream, 2)
    _assert_same(first, same)
    for group, tensors in first.tensors().items():
        for name, value in tensors.items():
            torch.testing.assert_close(other.tensors()[group][name], value, rtol=1e-9, atol=1e-10)
