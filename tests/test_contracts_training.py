"""What data, optimizers and guards keep; the tables' completeness: test_contracts.py."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import modules.data
from modules.data.base import Data, Examples
from modules.data.digits import Digits
from modules.data.hub import HuggingFaceData
from modules.data.points import Checkerboard, GaussianMixture2D, Rings
from modules.data.shapes import Shapes
from modules.data.torch_data import TorchData
from modules.energies.mlp import MLPEnergy
from modules.initializers.mlp import MLPInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from modules.training.ema import EMA
from modules.training.guards import Guard, RaiseOnDivergence, Rollback, SkipStep
from modules.training.muon import Muon
from modules.training.optimizers import AdamW, Optimizer
from modules.training.state import Training
from tests.contracts import each, small_networks

torch.set_num_threads(1)

DIGITS = str(Path(modules.data.__file__).with_name("digits.parquet"))
DATA: dict[type, Callable[[bool], Data]] = {  # with labels or without
    Digits: lambda labels: Digits(10 if labels else 0),
    HuggingFaceData: lambda labels: HuggingFaceData(DIGITS, (1, 8, 8), num_classes=10 if labels else 0),
    Shapes: lambda labels: Shapes(num_classes=14 if labels else 0),
    Checkerboard: lambda labels: Checkerboard(num_classes=8 if labels else 0),
    GaussianMixture2D: lambda labels: GaussianMixture2D(num_classes=8 if labels else 0),
    Rings: lambda labels: Rings(num_classes=2 if labels else 0),
    TorchData: lambda labels: TorchData(
        TensorDataset(*Digits(10).open().rows(torch.arange(1000))), (1, 8, 8), 10 if labels else 0, (-1, 1)
    ),
}
OPTIMIZERS: dict[type, Callable[[float], Optimizer]] = {AdamW: AdamW, Muon: Muon}  # of a learning rate
GUARDS: dict[type, Callable[[], Guard]] = {
    RaiseOnDivergence: RaiseOnDivergence,
    SkipStep: lambda: SkipStep(max_skips=2),
    Rollback: lambda: Rollback(max_rollbacks=2),
}


@pytest.fixture
def networks() -> tuple[MLPEnergy, MLPInitializer]:
    """See small_networks."""
    return small_networks()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[type, bool], tuple[Data, Examples]]:
    """Every set with labels and without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        made = {(kind, labels): make(labels) for kind, make in DATA.items() for labels in (True, False)}
        return {key: (data, data.open()) for key, data in made.items()}


@each(DATA)
def test_data(kind: type, opened) -> None:
    data, examples = opened[kind, True]
    assert examples.shape == data.shape and len(examples) >= 1000
    assert len(examples.class_names) == data.num_classes == len(set(examples.class_names))
    indices = torch.tensor([0, len(examples) - 1, 5, 5, *range(400)])
    image, label = examples.rows(indices)
    assert image.shape == (404, *data.shape) and image.dtype == torch.float32
    assert image.abs().max() <= (1.0 if len(data.shape) == 3 else 1.5) and image.std() > 0.1
    assert label.dtype == torch.int64 and label.ndim == 2 and len(label) == 404
    assert set(label.unique().tolist()) == set(range(data.num_classes))
    # by index alone
    again, labels_again = examples.rows(indices.flip(0))
    assert torch.equal(again.flip(0), image) and torch.equal(labels_again.flip(0), label)
    assert torch.equal(image[2], image[3]) and not torch.equal(image[0], image[1])
    one, its_label = examples.rows(indices[2:3])
    assert torch.equal(one, image[2:3]) and torch.equal(its_label, label[2:3])

    plain, unlabelled = opened[kind, False]
    image_only, none = unlabelled.rows(indices)
    assert plain.num_classes == 0 and unlabelled.class_names == [] and (none == -1).all()
    assert torch.equal(image_only, image)


@each(GUARDS)
def test_guard(kind: type, networks, tmp_path, same_generator) -> None:
    """It is bounded, brings no weights but a checkpoint's, and keeps the counts that it acts on."""
    guard = GUARDS[kind]()
    assert guard.max_energy == 1e4 and guard.exhausted
    method = RecoveryLikelihood(*networks, CosineSchedule(), Langevin(2), True)
    rules = dict.fromkeys(method.networks(), AdamW())
    training = Training(method, rules, EMA(), Runtime(trackers=()), seed=0, dtype=torch.float64)
    checkpoints.save(checkpoints.path_of(tmp_path, 0), training.tensors(), training.numbers())
    before = copy.deepcopy(training.tensors())
    remedies = 0
    while guard.remedy(training, tmp_path) is not None:
        remedies += 1
        assert training.num_skips + training.num_rollbacks == remedies <= 2
        for group, tensors in training.tensors().items():
            assert all(torch.equal(value, before[group][name]) for name, value in tensors.items()), group
    assert remedies == (0 if kind is RaiseOnDivergence else 2)


@each(OPTIMIZERS)
def test_optimizer(kind: type, same_generator) -> None:
    """It brings a bowl's ball down, keeps its hands off what is fixed, and resumes from its state."""

    class Ball(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.tensor([2.0, -1.0]))
            self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)

    def roll(ball: Ball, updater, steps: int) -> None:
        for _ in range(steps):
            ball.x.square().sum().backward()
            assert updater.clip().ndim == 0 and updater.step() == 0.05 and ball.x.grad is None

    rule = OPTIMIZERS[kind](0.05)
    assert [group["lr"] for group in rule.make([nn.Parameter(torch.zeros(1))]).param_groups] == [0.05]
    straight = Ball()
    updater = rule.start(straight)
    roll(straight, updater, 10)
    assert updater.num_updates == 10
    state = copy.deepcopy(updater.torch_optimizer.state_dict())
    at_ten = straight.x.detach().clone()
    roll(straight, updater, 50)
    assert straight.x.square().sum() < 0.05 and straight.fixed.item() == 1.0

    resumed = Ball()
    resumed.x.data = at_ten
    second = rule.start(resumed)
    second.torch_optimizer.load_state_dict(state)
    second.num_updates = 10
    roll(resumed, second, 50)
    torch.testing.assert_close(resumed.x, straight.x, rtol=1e-6, atol=1e-8)
