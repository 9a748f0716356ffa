"""A user's class that breaks a contract is told at once, in a line: class, what it gave, what it must give.

Every fault is planted in parts that train as they are; docs/own_component.md lists the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from modules.analysis.detection import scores
from modules.contracts.networks import check_level_law
from modules.contracts.signatures import check_signatures
from modules.core.checks import UserError
from modules.core.tensors import expand_as, norm_per_sample, rms_per_sample
from modules.core.types import Batch, Chain, LossOutput
from modules.data.base import Data, Examples, MemoryExamples
from modules.energies.base import Energy
from modules.energies.image import NetworkEnergy
from modules.guidance.none import NoGuidance
from modules.initializers.base import Initializer
from modules.initializers.residual import NetworkInitializer
from modules.losses.levels import LevelLaw
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime.runtime import Runtime
from modules.samplers.base import Sampler
from modules.sampling.generation import Generation
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.scores.base import Score
from modules.training.optimizers import AdamW
from modules.training.trainer import Trainer

torch.set_num_threads(1)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_component.md"


class MyEnergy(Energy):
    """E = |A y|²/2."""

    def __init__(self) -> None:
        super().__init__((1, 4, 4))
        self.matrix = nn.Linear(16, 4)

    def forward(self, y, transition, label=None):
        return self.matrix(y.flatten(1)).square().sum(1) / 2


class MyNetwork(nn.Module):
    """An image of the size that is asked for; mixing samples where that is."""

    def __init__(self, columns: int = 4, mixes: bool = False, learns: bool = True) -> None:
        super().__init__()
        self.columns, self.mixes = columns, mixes
        self.shift = nn.Parameter(torch.ones(())) if learns else 1

    def forward(self, x, logsnr):
        return (x - x.mean(0) if self.mixes else 0 * x)[..., : self.columns] + self.shift


class MyInitializer(Initializer):
    def __init__(self) -> None:
        super().__init__((1, 4, 4))

    def mean(self, x_t, transition, label=None):
        return x_t


class MySampler(Sampler):
    def sample(self, potential, y, step_size, noise, free=None):
        start, grad = y, potential.grad(y)
        move = 0.5 * expand_as(step_size, y) ** 2 * grad
        y = y - (move if free is None else move * free)
        return Chain(y, norm_per_sample(grad), rms_per_sample(y - start))


class MyLoss(RecoveryLikelihoodLoss):
    def __call__(self, positive, negative, transition):
        return super().__call__(positive, negative, transition)


class MyGuidance(NoGuidance):
    pass


class MyMethod(RecoveryLikelihood):
    pass


class MyData(Data):
    def __init__(self) -> None:
        super().__init__((1, 4, 4))

    def open(self):
        return MemoryExamples(torch.linspace(-1, 1, 64 * 16).reshape(64, 1, 4, 4))


def _trainer(parts: Mapping[type, Callable[..., Any]], **more: Any) -> Trainer:
    def make(kind: type, *arguments: Any) -> Any:
        return parts.get(kind, kind)(*arguments)

    torch.manual_seed(0)
    networks = make(MyEnergy), make(MyInitializer), CosineSchedule(), make(MySampler)
    loss = make(MyLoss)
    method = parts.get(MyMethod, RecoveryLikelihood)(*networks, True, loss)
    return Trainer(
        method,
        make(MyData),
        {"energy": AdamW(1e-3)},
        Generation(make(MySampler), make(MyGuidance)),
        num_steps=1,
        batch_size=8,
        runtime=Runtime(trackers=()),
        num_samples=4,
        **more,
    )


def breaking(base: type, **methods: Callable[..., Any]) -> dict[type, type]:
    """The class with other methods, under the same name."""
    return {base: type(base.__name__, (base,), {"__module__": __name__, **methods})}


def _output(change: Callable[[LossOutput], LossOutput]) -> dict[type, type]:
    return breaking(
        MyMethod, forward=lambda self, b, noise: change(RecoveryLikelihood.forward(self, b, noise))
    )


def _chain(change: Callable[[Chain, Any], Chain]) -> dict[type, type]:
    def sample(self, potential, y, step_size, noise, free=None):
        return change(MySampler.sample(self, potential, y, step_size, noise, free), y)

    return breaking(MySampler, sample=sample)


def _rows(images: torch.Tensor, labels: torch.Tensor | None = None) -> dict[type, type]:
    return breaking(MyData, open=lambda self: MemoryExamples(images, labels))


class MyExamples(MemoryExamples):
    def rows(self, indices):
        images, labels = super().rows(indices)
        return images, labels.float()


def _no_free(self, potential, y, step_size, noise):
    return MySampler.sample(self, potential, y, step_size, noise)


def forward(self, y, transition, label=None):
    return self.matrix(y).sum(1)


def _in_place(self, potential, y, step_size, noise, free=None):
    return MySampler.sample(self, potential, y.add_(1), step_size, noise, free)


def _ignores_free(self, potential, y, step_size, noise, free=None):
    return MySampler.sample(self, potential, y, step_size, noise)


def _parameter(self, *arguments):
    RecoveryLikelihood.__init__(self, *arguments)
    self.heat = nn.Parameter(torch.ones(()))


def _three_classes(self):
    Data.__init__(self, (1, 4, 4), 3)


def _of_three_classes(self):
    Energy.__init__(self, (1, 4, 4), 3)
    self.matrix = nn.Linear(16, 4)


class _ImagesAlone(Examples):
    """Rows without labels."""

    shape, class_names = (1, 4, 4), ()

    def __len__(self):
        return 64

    def rows(self, indices):
        return IMAGES[indices]


IMAGES = torch.rand(64, 1, 4, 4) * 2 - 1
FORWARD = MyEnergy.forward
FAULTS: dict[str, dict[type, Callable[..., Any]]] = {
    "energies (b, 1)": breaking(MyEnergy, forward=lambda s, y, c, label=None: FORWARD(s, y, c)[:, None]),
    "one energy of a batch": breaking(MyEnergy, forward=lambda s, y, c, label=None: FORWARD(s, y, c).mean()),
    "samples that mix": breaking(
        MyEnergy, forward=lambda s, y, c, label=None: FORWARD(s, y - y.mean(0), c) + 1
    ),
    "integer energies": breaking(MyEnergy, forward=lambda s, y, c, label=None: FORWARD(s, y, c).long()),
    "energies that aren't finite": breaking(
        MyEnergy, forward=lambda s, y, c, label=None: FORWARD(s, y, c) / 0
    ),
    "another energy for chains": breaking(
        MyEnergy, at=lambda s, c, label=None: lambda y: 2 * FORWARD(s, y, c)
    ),
    "no transition in forward": breaking(MyEnergy, forward=lambda s, y: FORWARD(s, y, None)),
    "code that fails": breaking(MyEnergy, forward=forward),
    "a network of another shape": {MyEnergy: lambda: NetworkEnergy(MyNetwork(1), (1, 4, 4))},
    "a network that mixes samples": {MyEnergy: lambda: NetworkEnergy(MyNetwork(mixes=True), (1, 4, 4))},
    "a network of another shape as initializer": {
        MyInitializer: lambda: NetworkInitializer(MyNetwork(1, learns=False), (1, 4, 4))
    },
    "a mean of another shape": breaking(MyInitializer, mean=lambda s, x, c, label=None: x.flatten(1)),
    "a missing free": breaking(MySampler, sample=_no_free),
    "a tensor for a Chain": breaking(MySampler, sample=lambda s, u, y, step, noise, free=None: y),
    "a norm for the rms": _chain(lambda chain, y: replace(chain, displacement=norm_per_sample(chain.y - y))),
    "one figure of a batch": _chain(lambda chain, y: replace(chain, grad_norm=chain.grad_norm.mean())),
    "a chain in float64": _chain(lambda chain, y: replace(chain, y=chain.y.double())),
    "a level without a sampler": breaking(MySampler, at=lambda self, transition: None),
    "a sampler's figure of a batch": _chain(
        lambda chain, y: replace(chain, figures={"kept": chain.grad_norm.mean()})
    ),
    "a start changed in place": breaking(MySampler, sample=_in_place),
    "known pixels that move": breaking(MySampler, sample=_ignores_free),
    "a guided energy for a function": breaking(
        MyGuidance, energy=lambda s, energy, c, label: torch.zeros(len(label))
    ),
    "a loss (b,)": breaking(MyLoss, __call__=lambda s, positive, negative, c: positive - negative),
    "a loss without gradient": breaking(
        MyLoss, __call__=lambda s, positive, negative, c: positive.mean().detach()
    ),
    "losses in a dict": _output(lambda out: out.losses),
    "an unknown network": _output(lambda out: replace(out, losses={"enrgy": out.losses["energy"]})),
    "no loss": _output(lambda out: replace(out, losses={})),
    "levels from 0": _output(lambda out: replace(out, t=out.t - 1)),
    "a watched mean": _output(lambda out: replace(out, watch={"gap": out.watch["displacement"].mean()})),
    "a watched name with a slash": _output(lambda out: replace(out, watch={"gap/1": out.t.float()})),
    "a parameter that nothing trains": breaking(MyMethod, __init__=_parameter),
    "a torch Dataset for Examples": breaking(MyData, open=lambda s: TensorDataset(IMAGES)),
    "rows of another shape": _rows(IMAGES[:, :, :2]),
    "float images in 0..255": _rows((IMAGES + 1) * 127.5),
    "rows that aren't finite": _rows(IMAGES / 0),
    "labels of a set without": _rows(IMAGES, torch.ones(64, dtype=torch.int64)),
    "a set without its labels": breaking(MyData, __init__=_three_classes),
    "classes, and no label in forward": breaking(
        MyEnergy, __init__=_of_three_classes, forward=lambda s, y, c: FORWARD(s, y, c)
    )
    | breaking(MyData, __init__=_three_classes, open=lambda s: MemoryExamples(IMAGES, torch.arange(64) % 3)),
    "float labels": breaking(MyData, open=lambda self: MyExamples(IMAGES)),
}


def _line(parts: Mapping[type, Callable[..., Any]], folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        _trainer(parts).train(folder)
    return str(caught.value)


def _plain(line: str) -> str:
    """Without the figures of this machine, and the line of this file."""
    return re.sub(r"\d+\.\d+|py:\d+", "0.0", line)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_of_the_page(name: str, tmp_path: Path) -> None:
    line = _line(FAULTS[name], tmp_path / "run")
    listed = dict(
        row.strip("| ").split(" | ", 1)
        for row in PAGE.read_text(encoding="utf-8").splitlines()
        if " | " in row.strip("| ")
    )
    assert "\n" not in line and line.startswith("My")
    assert _plain(f"`{line}`") == _plain(listed[name])
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_parts_without_a_fault_train_and_sample(tmp_path: Path) -> None:
    _trainer({}).train(tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints").exists() and (tmp_path / "run" / "samples").exists()


def test_where_there_are_no_labels_nothing_need_take_any(tmp_path: Path) -> None:
    """A data set of images alone, networks that take none; the same training as with labels of none."""
    without = {
        **breaking(MyData, open=lambda self: _ImagesAlone()),
        **breaking(MyEnergy, forward=lambda s, y, transition: FORWARD(s, y, transition)),
        **breaking(MyInitializer, mean=lambda s, x_t, transition: x_t),
    }
    trained = _trainer(without, sample_every=0).train(tmp_path / "without")
    beside = _trainer(_rows(IMAGES), sample_every=0).train(tmp_path / "with")
    for one, other in zip(trained.method.parameters(), beside.method.parameters(), strict=True):
        assert torch.equal(one, other)
    x = torch.rand(4, 1, 4, 4)
    assert (Batch(x).label == -1).all() and Batch(x).label.shape == (4,)
    c = CosineSchedule().transition(torch.tensor([1, 2, 3, 6]))
    assert torch.equal(trained.method.energy(x, c, label=None), trained.method.energy(x, c))


class MyScore(Score):
    def __call__(self, networks, x, seed=0):
        return x.flatten(1).mean(1, keepdim=True)


class MyFormerScore(Score):
    def __call__(self, energy, initializer, schedule, x, seed=0):
        return x.flatten(1).mean(1)


class MyLaw(LevelLaw):
    def draw(self, schedule, noise):
        return 40 * noise.uniform("level")


def _listed() -> list[str]:
    return [_plain(row) for row in PAGE.read_text(encoding="utf-8").splitlines()]


def test_a_score_s_faults_are_lines_of_the_page() -> None:
    networks = _trainer({}).method.models()
    with pytest.raises(UserError) as caught:
        list(scores(MyScore(), networks, IMAGES, Runtime(trackers=())))
    assert any(_plain(f"`{caught.value}`") in row for row in _listed())
    with pytest.raises(UserError) as caught:
        check_signatures(MyFormerScore())
    assert any(_plain(f"`{caught.value}`") in row for row in _listed())


def test_a_law_of_levels_beyond_the_ladder_is_a_line_of_the_page() -> None:
    with pytest.raises(UserError) as caught:
        check_level_law(MyLaw(), ContinuousSchedule(), IMAGES)
    assert any(_plain(f"`{caught.value}`") in row for row in _listed())
