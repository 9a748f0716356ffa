"""What one process and two must agree on: computed by a test in its own, and in two that it forks."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from modules.core.checks import DataError
from modules.core.noise import Noise
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import Batch, LossOutput, NoiseSource, Transition
from modules.data.digits import Digits
from modules.data.points import Checkerboard
from modules.data.stream import TrainingStream
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.resnet import CooperativeResNet
from modules.energies.unet import UNetEnergy
from modules.evaluation.evaluation import Evaluation
from modules.features.pixels import RawPixels
from modules.initializers.copy import CopyInitializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import OwnProposal
from modules.initializers.unet import UNet
from modules.losses.contrast import RecoveryContrast
from modules.losses.fokker_planck import FokkerPlanck
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.base import Method
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.metrics.base import Metric, PairMetric
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.detection import Detection
from modules.metrics.fid import FID
from modules.metrics.inception_score import InceptionScore
from modules.metrics.kid import KID
from modules.metrics.mode_mass import ModeMass
from modules.metrics.prdc import PRDC
from modules.metrics.recognised import Recognised
from modules.metrics.sliced_wasserstein import SlicedWasserstein
from modules.runtime.runtime import Runtime
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.sampling.indexed import sample
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from modules.training.ema import EMA
from modules.training.optimizers import AdamW
from modules.training.state import Training
from modules.training.trainer import Trainer

torch.set_num_threads(1)

BATCH_SIZE, NUM_STEPS = 8, 3


class ShiftedEnergy(Energy):
    """An MLP's energy plus a parameter that no gradient in y can reach."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.mlp = MLPEnergy(shape, width=16, depth=1)
        self.shift = nn.Parameter(torch.ones(()))

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        return self.mlp(y, transition, label) + self.shift


class InputGradient(Method):
    """Denoising score matching (Vincent 2011): the loss holds the energy's gradient in its input."""

    def begin_step(self, step: int) -> None:
        """Nothing to prepare."""

    def forward(self, batch: Batch, noise: NoiseSource) -> LossOutput:
        t = noise.integers("t", 1, self.schedule.num_levels + 1)
        transition = self.schedule.transition(t, batch.image.dtype)
        z = noise.normal("eps", tuple(batch.image.shape[1:]))
        y = batch.image + expand_as(transition.sigma_s, z) * z
        y.requires_grad_()
        (slope,) = torch.autograd.grad(self.energy(y, transition).sum(), y, create_graph=True)
        return LossOutput({"energy": sum_per_sample((slope - z) ** 2).mean()}, t)


def method(name: str) -> Method:
    torch.manual_seed(0)
    if name == "input gradient":
        return InputGradient(ShiftedEnergy((2,)), CopyInitializer((2,)), CosineSchedule())
    if name.startswith("one energy"):
        energy: Energy = MLPEnergy((2,), width=16, depth=1, level_waves=30.0)
        if name == "one energy":
            energy = UNetEnergy((1, 8, 8), 10, dim=8, dim_mults=(1, 1), num_blocks=1, groups=4)
        return OneEnergy(
            NormalizedEnergy(energy, width=16),
            OwnProposal(energy.shape, energy.num_classes),
            ContinuousSchedule(),
            Langevin(2, step_factor=0.5),
            ScoreMatching(),
            LevelScore(),
            RecoveryContrast(),
            fokker_planck=FokkerPlanck(),
        )
    if name == "drl":
        energy = MLPEnergy((2,), width=16, depth=1, spectral_norm=True)
        ladder = SubsampledLinearSchedule()
        return RecoveryLikelihood(energy, CopyInitializer((2,)), ladder, Langevin(3), shared_noise=False)
    shape = (1, 8, 8)
    return RecoveryLikelihood(
        CooperativeResNet(shape, 10, channels=8, channel_mult=(1, 2), num_blocks=1),
        UNet(shape, 10, dim=8, dim_mults=(1,), num_blocks=1, groups=4, dropout=0.0),
        CosineSchedule(),
        Langevin(2),
        shared_noise=True,
    )


def trainer(name: str, per_device_batch_size: int | None = None) -> Trainer:
    trained = method(name)
    rule = AdamW(lr=1e-2, weight_decay=0.1, clip_norm=1.0)
    return Trainer(
        trained,
        Digits(10) if trained.energy.shape == (1, 8, 8) else Checkerboard(),
        dict.fromkeys(trained.networks(), rule),
        Generation(Langevin(2)),
        NUM_STEPS,
        BATCH_SIZE,
        per_device_batch_size=per_device_batch_size,
    )


METHODS = ("drl", "cdrl", "input gradient", "one energy", "one energy by double backward")


def trained_weights(name: str, per_device_batch_size: int | None) -> dict[str, Tensor]:
    """All tensors after NUM_STEPS steps in float64."""
    made = trainer(name, per_device_batch_size)
    made.method.double()
    training = Training(made.method, made.optimizers, EMA(0.5), made.runtime, 1, torch.float64)
    rows = made.micro_rows()
    batches = TrainingStream(made.data.open(), BATCH_SIZE, seed=1).iterate(0, rows)
    for _ in range(NUM_STEPS):
        training.step(next(batches), rows)
    return {f"{group}/{key}": v for group, part in training.tensors().items() for key, v in part.items()}


def drawn(num: int) -> Tensor:
    """Samples 0..num-1 of an untrained model in float64, in batches of two."""
    model = method("cdrl").double()
    labels = torch.arange(num) % 10
    generation = Generation(Langevin(2))
    draw = Draw.of_seed(5, num, labels, dtype=torch.float64)
    return sample(generation, model.models(), draw, Runtime(), 2).x


def measured(runtime: Runtime) -> dict[str, Tensor]:
    """The values of every metric of samples, each process being given its share in batches of three."""
    found = {}
    for metric in (FID(), FID(extrapolate=True), KID(3, 10, memory_mapped=True), PRDC(2, True),
                   InceptionScore(4), SlicedWasserstein(),
                   ClassAccuracy(), Recognised(0.3), ModeMass(), Detection()):  # fmt: skip
        for count in (1, 25):  # one: fewer than there are processes; references: enough of both
            there = inputs(metric, 24, "references")
            here = inputs(metric, count, "predictions")
            paired = isinstance(metric, PairMetric)
            sides = {"predictions": here} if paired else {"predictions": here, "references": there}
            for side, x in sides.items():
                mine = torch.arange(len(x))[runtime.rank :: runtime.num_processes]
                for rows in mine.split(3):
                    if paired:
                        metric.add_batch(predictions=x[rows], references=rows % 2, indices=rows)
                    else:
                        metric.add_batch(**{side: x[rows]}, indices=rows)
            metric.combine(runtime)
            try:
                values = metric.compute()
            except DataError:  # a covariance of one sample
                values = {"refused": 1.0}
            found |= {f"{type(metric).__name__}/{count}/{key}": torch.tensor(v) for key, v in values.items()}
    return found


def inputs(metric: Metric, count: int, side: str) -> Tensor:
    """What the metric takes, (count, ...), float64 where it is a real number."""
    noise = Noise(0, torch.arange(count), stream=side, dtype=torch.float64)
    if metric.takes == "modes":
        return noise.integers("modes", -1, 3)
    x = noise.normal("x", () if metric.takes == "own" else (4,))
    return x.softmax(1) if metric.takes in ("probabilities", "classes") else x


def run_folder(folder: Path) -> None:
    """A whole run of smooth networks on points."""
    torch.manual_seed(0)
    rule = AdamW(lr=1e-3)
    Trainer(
        RecoveryLikelihood(
            MLPEnergy((2,), width=16, depth=1),
            MLPInitializer((2,), width=16, depth=1),
            CosineSchedule(),
            Langevin(2),
            shared_noise=True,
        ),
        Checkerboard(),
        {"energy": rule, "initializer": rule},
        Generation(Langevin(2)),
        num_steps=3,
        batch_size=64,
        log_every=1,
        sample_every=3,
        num_samples=5,
        per_device_batch_size=16,
        evaluation=Evaluation(
            [SlicedWasserstein(), ModeMass()], RawPixels(), num=7, every=3, num_references=5, batch_size=2
        ),
    ).train(folder)


def evaluate(output: Path, run: Path) -> int:
    """The task evaluate with metrics of every kind."""
    import launch

    command = ["--task", "evaluate", "--run", str(run), "--output", str(output), "--num", "21"]
    command += ["--metrics", "fid,kid,is,prdc,class_accuracy", "--batch-size", "4", "--bootstrap", "6"]
    small = ["Evaluation.extractor=@DigitsClassifier()", "KID.num_subsets=5", "KID.subset_size=20"]
    return launch.main([*command, *(word for setting in small for word in ("--set", setting))])


TASKS = {
    "inpaint": ["--num", "3", "--completions", "3", "--mask", "left", "random", "--label", "own"],
    "interpolate": ["--num", "3", "--between", "samples", "--frames", "3"],
    "compose": ["--num", "5", "--labels", "3", "5", "--label-weights", "2", "-1"],
    "detect": ["--num", "11", "--against", "uniform", "--score", "EnergyScore", "--score", "DenoisingScore"],
    "chains": ["--num", "5", "--steps", "40", "--every", "1", "--start", "samples", "--level", "1"],
    "landscape": ["--points", "5"],
    "likelihood": [
        *("--num", "5", "--chains", "4", "--bridges", "1", "--by", "annealing"),
        *("--set", "annealing/Hamiltonian.num_leapfrog=1"),
    ],
    "restore": ["--num", "3", "--completions", "2", "--map", "Blur"],
}
"""Options of the tasks on a run that write other files than generate and evaluate."""


def task(name: str, output: Path, run: Path) -> int:
    """One of TASKS in the shared processes."""
    import launch

    return launch.main(["--task", name, "--run", str(run), "--output", str(output / name), *TASKS[name]])


def main(*folders: str) -> None:
    """All of it in one of the two: what is found goes to the first folder; the second is a run's."""
    output, run = map(Path, folders)
    runtime = Runtime()
    facts: dict[str, Tensor] = {}
    for name in METHODS:
        for size in (None, 2):
            weights = trained_weights(name, size)
            facts |= {f"{name}/{size}/{key}": value for key, value in weights.items()}
    for num in (1, 5):
        facts[f"drawn/{num}"] = drawn(num)
    facts |= {f"measured/{name}": value for name, value in measured(runtime).items()}
    # every process has its own copy of the weights: all must be alike
    save_file(facts, output / f"facts{runtime.rank}.safetensors")
    (output / f"processes{runtime.rank}.json").write_text(json.dumps(runtime.num_processes))
    run_folder(output / "run")

    import launch

    for num, form in ((5, "png"), (1, "npz")):
        folder = output / f"generated{num}"
        command = ["--task", "generate", "--run", str(run), "--output", str(folder), "--num", str(num)]
        assert launch.main([*command, "--format", form]) == 0
    assert evaluate(output / "evaluated", run) == 0
    for name in TASKS:
        assert task(name, output / "tasks", run) == 0
