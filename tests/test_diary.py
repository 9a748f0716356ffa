"""The record of a run watches its samples: healthy losses prove nothing."""

import json
from pathlib import Path

import torch

from modules.data.points import Checkerboard
from modules.diary import Diary
from modules.ema import EMA
from modules.energies.mlp import MLPEnergy
from modules.generation import Generation
from modules.initializers.mlp import MLPInitializer
from modules.methods.recovery import RecoveryLikelihood
from modules.optimizers import AdamW
from modules.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.schedules import CosineSchedule
from modules.trainer import Trainer
from modules.training import Training

torch.set_num_threads(1)


def test_samples_that_get_worse_are_reported(tmp_path: Path, capsys) -> None:
    torch.manual_seed(0)
    energy, initializer = MLPEnergy((2,), width=8, depth=1), MLPInitializer((2,), width=8, depth=1)
    method = RecoveryLikelihood(energy, initializer, CosineSchedule(), Langevin(1), shared_noise=True)
    data, runtime = Checkerboard(length=1000), Runtime(trackers=())
    optimizers = {"energy": AdamW(), "initializer": AdamW()}
    generation = Generation(Langevin(1), denoise_factor=0.0)
    trainer = Trainer(method, data, optimizers, generation, 10, 8, runtime=runtime, num_samples=200)
    training = Training(method, optimizers, EMA(), runtime, seed=0)
    diary = Diary(trainer, tmp_path, 0, data.open())

    diary.sample(training)
    diary.sample(training)
    assert "got worse" not in capsys.readouterr().out
    with torch.no_grad():
        training.averages["initializer"].head.bias.fill_(5.0)  # proposals fly off to one side
    diary.sample(training)
    diary.close()
    assert "got worse" in capsys.readouterr().out

    distances = [json.loads(line)["sample_distance"] for line in (tmp_path / "metrics.jsonl").open()]
    assert distances[0] == distances[1] and distances[2] > 1.5 * distances[0]
