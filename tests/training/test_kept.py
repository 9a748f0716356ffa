"""State that components of a user's own keep: saved, taken back, and checked as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from modules.core.checks import CheckpointError, ConfigurationError
from modules.data.points import Checkerboard
from modules.energies.mlp import MLPEnergy
from modules.initializers.copy import CopyInitializer
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime.runtime import Runtime
from modules.samplers.base import Sampler
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from modules.training.guards import RaiseOnDivergence
from modules.training.kept import Kept
from modules.training.optimizers import AdamW
from modules.training.trainer import Trainer

torch.set_num_threads(1)


class Replay(RecoveryLikelihood):
    """Its data are mixed with what a buffer, which grows, has kept of earlier batches."""

    def __init__(self, *parts) -> None:
        super().__init__(*parts, shared_noise=True)
        self.register_buffer("kept", None)
        self.register_buffer("scratch", torch.zeros(1), persistent=False)

    def forward(self, batch, noise):
        old = torch.zeros(0, 2) if self.kept is None else self.kept
        self.kept = torch.cat([old, batch.image[:2]])
        image = batch.image.clone()
        image[: len(self.kept) // 2] = self.kept[::2][: len(image)]
        return super().forward(replace(batch, image=image), noise)


class Adapted(Sampler, nn.Module):
    """A chain whose length factor follows what it has done: a module with a buffer."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.register_buffer("factor", torch.ones(()))
        self.inner = Langevin(1)

    def sample(self, potential, y, step_size, noise, free=None):
        chain = self.inner.sample(potential, y, self.factor * step_size, noise, free)
        self.factor = self.factor * (0.9 if chain.displacement.mean() > 1e-3 else 1.1)
        return chain


class Annealed(RecoveryLikelihoodLoss):
    """A loss whose weight falls: no module, a state all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.ones(())

    def __call__(self, positive, negative, transition):
        self.weight = 0.5 * self.weight
        return self.weight * super().__call__(positive, negative, transition)

    def state_dict(self):
        return {"weight": self.weight}

    def load_state_dict(self, state):
        self.weight = state["weight"]


class Shrinking(AdamW):
    """A rate that falls by what it has seen."""

    def __init__(self, lr: float) -> None:
        super().__init__(lr)
        self.factor = torch.ones(())

    def lr_at(self, update):
        self.factor = 0.9 * self.factor
        return float(self.factor) * super().lr_at(update)

    def state_dict(self):
        return {"factor": self.factor}

    def load_state_dict(self, state):
        self.factor = state["factor"]


class Watchful(RaiseOnDivergence):
    """A guard that remembers."""

    memory = torch.zeros(2)

    def state_dict(self):
        return {"memory": self.memory}

    def load_state_dict(self, state):
        self.memory = state["memory"]


def _trainer(num_steps: int = 4) -> Trainer:
    torch.manual_seed(0)
    energy, copy = MLPEnergy((2,), width=8, depth=1), CopyInitializer((2,))
    method = Replay(energy, copy, CosineSchedule(), Adapted())
    method.energy_loss = Annealed()
    return Trainer(
        method,
        Checkerboard(),
        {"energy": Shrinking(1e-2)},
        Generation(Adapted()),
        num_steps,
        batch_size=8,
        runtime=Runtime(trackers=()),
        num_samples=4,
        sample_every=2,
        save_every=2,
        guard=Watchful(),
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """The run folder of four steps."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    _trainer().train(folder)
    return folder


def test_what_is_declared_is_saved_and_resumed_exactly(straight: Path, tmp_path: Path) -> None:
    """Four steps straight, and two and two more in a new process' objects: equal to the last bit."""
    tensors, _ = checkpoints.load(checkpoints.path_of(straight, 4))
    assert set(tensors["method_state"]) == {"kept", "sampler.factor", "energy_loss.weight"}
    assert (
        len(tensors["method_state"]["kept"]) == 8 and tensors["method_state"]["energy_loss.weight"] == 2**-4
    )
    assert tensors["generation_state"]["sampler.factor"] != 1
    assert float(tensors["energy_rule_state"]["factor"]) == pytest.approx(0.9**4)
    assert tensors["guard_state"].keys() == {"memory"}
    resumed = _trainer()
    resumed.train(tmp_path, checkpoints.path_of(straight, 2))
    again, _ = checkpoints.load(checkpoints.path_of(tmp_path, 4))
    assert again.keys() == tensors.keys()
    for group, saved in tensors.items():
        assert saved.keys() == again[group].keys()
        for name, value in saved.items():
            assert torch.equal(value, again[group][name]), f"{group}/{name}"


def test_what_does_not_fit_is_named(straight: Path) -> None:
    saved = checkpoints.load(checkpoints.path_of(straight, 2))[0]["method_state"]
    method = _trainer().method
    kept = Kept(method, [method.energy])
    cpu = torch.device("cpu")
    for change, words in (
        ({"sampler.factor": None}, "sampler.factor is missing"),
        ({"other": torch.ones(1)}, "other has no place"),
        ({"sampler.factor": torch.ones(3)}, r"sampler.factor is \(3,\) torch.float32, not \(\)"),
        ({"sampler.factor": torch.ones((), dtype=torch.int64)}, r"sampler.factor is \(\) torch.int64"),
    ):
        wrong = {name: value for name, value in {**saved, **change}.items() if value is not None}
        with pytest.raises(CheckpointError, match=f"^group 'method_state': {words}"):
            kept.restore(wrong, "method_state", cpu)
        assert method.sampler.factor == 1, "a part was taken over"


def test_a_state_that_a_checkpoint_lacks_is_told(straight: Path, tmp_path: Path, caplog) -> None:
    tensors, numbers = checkpoints.load(checkpoints.path_of(straight, 2))
    del tensors["method_state"], numbers["groups"], numbers["schema"]
    checkpoints.save(checkpoints.path_of(tmp_path, 2), tensors, numbers)
    with pytest.raises(CheckpointError, match="no group 'method_state', the state that Replay keeps"):
        _trainer().train(tmp_path / "run", checkpoints.path_of(tmp_path, 2))
    _trainer(3).train(tmp_path / "run", checkpoints.path_of(tmp_path, 2), allow_inexact=True)
    assert "the state that Replay keeps starts anew" in caplog.text


def test_a_state_of_something_else_than_tensors_is_refused() -> None:
    class Counting(Annealed):
        def state_dict(self):
            return {"steps": 3}

    with pytest.raises(
        ConfigurationError, match=r"^Counting.state_dict gave 'steps' as int, must give tensors"
    ):
        Kept({"loss": Counting()}).tensors()
