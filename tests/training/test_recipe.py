"""A trainer made in Python leaves a folder that rebuilds it, or says in one line why it can't."""

from __future__ import annotations

import json

import gin
import pytest
import torch
from torch import nn

from modules import config, runs
from modules.core.checks import CheckpointError, ConfigurationError
from modules.data.points import Checkerboard
from modules.data.torch_data import TorchData
from modules.energies.image import NetworkEnergy
from modules.energies.mlp import MLPEnergy
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule
from modules.storage import checkpoints
from modules.training.optimizers import AdamW
from modules.training.recipe import Recipe, leave_recipe
from modules.training.trainer import Trainer

torch.set_num_threads(1)


@gin.register
class Bowl(MLPEnergy):
    """An energy of a user's own, in a file that can be imported."""

    def __init__(self, shape, slope: float = 1.0) -> None:
        super().__init__(shape, width=8, depth=1)
        self.slope = slope


@gin.register
class Forgetful(MLPEnergy):
    """One that keeps an argument nowhere."""

    def __init__(self, shape, slope: float = 1.0) -> None:
        super().__init__(shape, width=8, depth=1)


def _trainer(energy, data=None, sampler=None) -> Trainer:
    torch.manual_seed(0)
    initializer = MLPInitializer((2,), width=8, depth=1)
    sampler = sampler or Langevin(2)
    return Trainer(
        RecoveryLikelihood(energy, initializer, CosineSchedule(), sampler, shared_noise=True),
        data or Checkerboard(scale=0.25),
        {"energy": AdamW(1e-2, beta1=0.5), "initializer": AdamW(3e-3)},
        Generation(Langevin(3), denoise_factor=0.5),
        num_steps=2,
        batch_size=8,
        runtime=Runtime(trackers=()),
        log_every=2,
        sample_every=0,
    )


def test_the_folder_loads_and_samples_what_was_trained(tmp_path):
    trainer = _trainer(Bowl((2,), slope=0.25))
    trainer.train(tmp_path)
    loaded = runs.load(tmp_path)  # its module is in use here
    assert loaded.step == 2 and loaded.energy.slope == 0.25 and loaded.data.scale == 0.25
    assert loaded.generation.sampler.num_steps == 3 and loaded.method.sampler.num_steps == 2
    assert loaded.generation.inpainting.shared_noise is True
    there = runs.Run(trainer.method, trainer.generation, trainer.data).take_weights(tmp_path)
    assert torch.equal(loaded.generate(4).x, there.generate(4).x)
    assert json.loads((tmp_path / "config.json").read_text())["imports"] == [__file__]


def test_one_class_in_two_uses_keeps_both_settings():
    text = Recipe(_trainer(MLPEnergy((2,), width=8, depth=1))).text
    again = config.load_text(text).build("Trainer")
    assert [rule.lr for rule in again.optimizers.values()] == [1e-2, 3e-3]
    assert again.optimizers["energy"].beta1 == 0.5
    assert again.generation.sampler.num_steps == 3 and again.method.sampler.num_steps == 2


def test_a_configuration_from_gin_files_stays(tmp_path):
    (tmp_path / "config.gin").write_text("Trainer.num_steps = 7\n")
    assert leave_recipe(tmp_path, _trainer(MLPEnergy((2,), width=8, depth=1))) is None
    assert (tmp_path / "config.gin").read_text() == "Trainer.num_steps = 7\n"


NETWORK = nn.Sequential(nn.Linear(2, 2))
UNTOLD = {
    "a network of torch's": (lambda: _trainer(NetworkEnergy(NETWORK, (2,))), "a Sequential has no word"),
    "an argument that is kept nowhere": (lambda: _trainer(Forgetful((2,))), "^Forgetful keeps its argument"),
    "a torch Dataset": (
        lambda: _trainer(
            MLPEnergy((2,), width=8), TorchData(torch.utils.data.TensorDataset(torch.zeros(9, 2)), (2,))
        ),
        "a TensorDataset has no word",
    ),
}


@pytest.mark.parametrize("case", UNTOLD)
def test_what_gin_has_no_word_for_is_told(case):
    make, line = UNTOLD[case]
    with pytest.raises(ConfigurationError, match=line):
        Recipe(make())


def test_a_folder_that_cannot_say_how_it_was_made_says_why(tmp_path, capsys):
    """It still holds the weights, for a run of the same objects."""
    trainer = _trainer(Forgetful((2,)))
    trainer.train(tmp_path)
    assert "won't load by its name: Forgetful keeps" in "".join(capsys.readouterr())
    with pytest.raises(CheckpointError, match=r"Forgetful keeps its argument 'slope'.*take_weights"):
        runs.load(tmp_path)
    fresh = _trainer(Forgetful((2,)))
    run = runs.Run(fresh.method, fresh.generation).take_weights(tmp_path, weights="live")
    saved, _ = checkpoints.load(checkpoints.latest(tmp_path))
    assert all(torch.equal(v, saved["energy"][name]) for name, v in run.energy.state_dict().items())


def test_a_network_that_two_share_is_told():
    shared = Bowl((2,))
    shared.slope = CopyInitializer((2,))
    trainer = _trainer(shared)
    trainer.evaluation = shared.slope
    with pytest.raises(ConfigurationError, match="are one CopyInitializer"):
        Recipe(trainer)
