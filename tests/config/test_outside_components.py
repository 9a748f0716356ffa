"""A sampler, an energy, a loss and a guidance of a user's own: one file, no edit inside the project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import launch
from modules import runs
from modules.demo import answers
from modules.storage import checkpoints
from tests.tiny import TINY

torch.set_num_threads(1)

MINE = '''\
"""Components that the project knows nothing of."""

import gin
import torch
from torch import nn

from modules.energies.base import Energy
from modules.guidance.base import Guidance
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.samplers.base import Sampler
from modules.core.tensors import expand_as, norm_per_sample, rms_per_sample
from modules.core.types import Chain


@gin.register
class SignSampler(Sampler):
    """Steps of a fixed length down each coordinate, with noise."""

    def __init__(self, num_steps, length=0.1):
        self.num_steps, self.length = num_steps, length

    def sample(self, potential, y, step_size, noise, free=None):
        start = y = y.detach()
        grad = torch.zeros_like(y)
        for k in range(self.num_steps):
            grad = potential.grad(y)
            z = noise.normal("sign", tuple(y.shape[1:]), draw=k)
            move = self.length * expand_as(step_size, y) * (grad.sign() + z)
            y = y - (move if free is None else move * free)
        return Chain(y, norm_per_sample(grad), rms_per_sample(y - start))


@gin.register
class QuadraticEnergy(Energy):
    """E = |A y + b_label|²/2, from forward alone."""

    def __init__(self, shape, num_classes=0, rank=3):
        super().__init__(shape, num_classes)
        self.matrix = nn.Linear(torch.Size(self.shape).numel(), rank)
        self.offset = nn.Embedding(num_classes + 1, rank)

    def forward(self, y, transition, label=None):
        label = torch.full_like(transition.t, -1) if label is None else label
        return (self.matrix(y.flatten(1)) + self.offset(label + 1)).square().sum(1) / 2


@gin.register
class SoftplusLoss(RecoveryLikelihoodLoss):
    """mean softplus(E(y+) - E(y-)), which stops to push what is told apart."""

    def __init__(self, sharpness=1.0):
        super().__init__(weighted=False)
        self.sharpness = sharpness

    def __call__(self, positive, negative, transition):
        return nn.functional.softplus(self.sharpness * (positive - negative)).mean()


@gin.register
class Halved(Guidance):
    """Half of every energy; the proposal as it is."""

    def energy(self, energy, transition, label):
        bound = energy.at(transition, label)
        return lambda y: bound(y) / 2

    def mean(self, initializer, x_t, transition, label):
        return initializer.mean(x_t, transition, label)
'''
CHOSEN = [
    "NUM_CLASSES=10",
    "RecoveryLikelihood.sampler=@SignSampler()",
    "SignSampler.num_steps=2",
    "SignSampler.length=0.2",
    "Generation.sampler=@SignSampler()",
    "RecoveryLikelihood.energy=@QuadraticEnergy()",
    "QuadraticEnergy.shape=%SHAPE",
    "QuadraticEnergy.num_classes=%NUM_CLASSES",
    "RecoveryLikelihood.energy_loss=@SoftplusLoss()",
    "SoftplusLoss.sharpness=0.5",
    "Generation.guidance=@Halved()",
]


def _train(folder: Path, output: Path, *more: str) -> int:
    settings = [word for setting in CHOSEN for word in ("--set", setting)]
    mine, gin = folder / "mine.py", folder / "tiny.gin"
    return launch.main(["--gin", str(gin), "--import", str(mine), *settings, "--output", str(output), *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with the user's file, a gin file and a run of them."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "mine.py").write_text(MINE)
    (folder / "tiny.gin").write_text(TINY)
    assert _train(folder, folder / "run") == 0
    return folder


def test_they_train(trained):
    tensors, state = checkpoints.load(checkpoints.latest(trained / "run"))
    assert state["step"] == 4 and "matrix.weight" in tensors["energy"]
    rows = [json.loads(line) for line in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["loss/energy"] > 0 for row in rows if "loss/energy" in row)  # softplus is positive
    built = runs.load(trained / "run")
    parts = [built.method.sampler, built.method.energy, built.method.energy_loss, built.generation.guidance]
    names = ["SignSampler", "QuadraticEnergy", "SoftplusLoss", "Halved"]
    assert [type(part).__name__ for part in parts] == names
    assert built.method.sampler.length == 0.2 and built.method.energy_loss.sharpness == 0.5


def test_they_resume_exactly(trained, capsys):
    """From step 2 in another folder, by the saved configuration alone and by the files again."""
    start = str(checkpoints.path_of(trained / "run", 2))
    straight, _ = checkpoints.load(checkpoints.path_of(trained / "run", 4))
    assert launch.main(["--resume", start, "--output", str(trained / "saved")]) == 0
    assert _train(trained, trained / "again", "--resume", start) == 0
    for name in ("saved", "again"):
        resumed, _ = checkpoints.load(checkpoints.path_of(trained / name, 4))
        for group, tensors in straight.items():
            for key, value in tensors.items():
                assert torch.equal(value, resumed[group][key]), f"{name}: {group}/{key}"
        assert (trained / name / "config.json").read_text() == (trained / "run" / "config.json").read_text()


def test_they_sample_in_a_process_that_never_met_them(trained, parent, tmp_path):
    """The run folder knows the file that it needs, and imports it when it is told to or the file is named."""
    command = ["--task", "generate", "--run", str(trained / "run"), "--num", "3", "--format", "npz"]
    command += ["--output", str(trained / "out")]
    log = tmp_path / "log"
    assert parent.run("launch:main", [command], trained, log) == 2
    refused = log.read_text()
    assert "trained with code of its own" in refused
    assert refused.count("\n") == 1 and not (trained / "out").exists()
    for words in (["--trust-imports"], ["--import", "mine.py"]):
        assert parent.run("launch:main", [[*command, *words]], trained, log) == 0, log.read_text()
    images = np.load(trained / "out" / "samples.npz")["images"].astype(int)
    here = runs.load(trained / "run").generate(3, [0, 1, 2]).x
    assert abs(images - ((here.clamp(-1, 1) + 1) * 127.5).round().int().numpy()).max() <= 1
    assert images.std() > 1


def test_tasks_use_their_sampler_and_say_so(trained, tmp_path, capsys):
    """Another number of steps is the same sampler's, in samples, in long chains and on the page."""
    task = ["--run", str(trained / "run"), "--import", str(trained / "mine.py"), "--output"]
    generate = ["--task", "generate", *task, str(tmp_path / "out"), "--num", "2", "--format", "npz"]
    assert launch.main([*generate, "--steps", "1"]) == 0
    assert "by SignSampler(num_steps=1, length=0.2)" in capsys.readouterr().out
    images = np.load(tmp_path / "out" / "samples.npz")["images"].astype(int)
    run = runs.load(trained / "run", imports=[str(trained / "mine.py")])
    configured = run.generate(2, [0, 1]).x
    fewer = run.with_steps(1).generate(2, [0, 1]).x
    assert not torch.equal(fewer, configured)
    assert abs(images - ((fewer.clamp(-1, 1) + 1) * 127.5).round().int().numpy()).max() <= 1
    assert answers.configured_steps(run) == 2
    settings = answers.Settings(label=answers.IN_TURN, steps=1)
    assert torch.equal(answers.sample(run, 2, settings, lambda done, total: None).x, fewer)
    chains = [
        "--task",
        "chains",
        *task,
        str(tmp_path / "chains"),
        "--steps",
        "40",
        "--every",
        "1",
        "--num",
        "2",
    ]
    assert launch.main(chains) == 0
    assert "chains by SignSampler(num_steps=1, length=0.2)" in capsys.readouterr().out


def test_a_file_that_is_gone_is_named(trained, tmp_path, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")
    text = (tmp_path / "run" / "config.json").read_text()
    (tmp_path / "run" / "config.json").write_text(text.replace("mine.py", "lost.py"))
    for words, expected in (([], "code of its own"), (["--trust-imports"], "no such file")):
        assert launch.main(["--task", "generate", "--run", str(tmp_path / "run"), *words]) == 2
        printed = capsys.readouterr().err
        assert "lost.py" in printed and expected in printed and printed.count("\n") == 1
