"""What every component keeps; a class of modules/ that is left out of its table fails.

Energies and initializers have theirs in test_contracts_networks.py.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import datasets
import gin
import pytest
import torch
from torch import Tensor, nn

import modules
import modules.data
from modules.core.noise import Noise
from modules.core.types import Batch, Transition
from modules.data.base import Data, Examples
from modules.data.digits import Digits
from modules.data.hub import HuggingFaceData
from modules.data.points import Checkerboard, GaussianMixture2D, Rings
from modules.data.shapes import Shapes
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.energies.recovery import RecoveryPotential
from modules.evaluation.evaluation import Evaluation
from modules.features.base import Extractor
from modules.features.digits import DigitsClassifier
from modules.features.inception_v3 import InceptionV3
from modules.features.module import ModuleFeatures
from modules.features.pixels import RawPixels
from modules.guidance.base import Guidance
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.guidance.composition import Composition
from modules.guidance.none import NoGuidance
from modules.initializers.base import Initializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import OwnProposal
from modules.losses.contrast import RecoveryContrast
from modules.losses.cooperative import CooperativeLoss, WarmStart
from modules.losses.levels import LadderLevels, LevelLaw, MixedLevels, UniformLevels
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.losses.phase import Phase
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.base import Method
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.metrics.base import Metric, PairMetric
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.detection import Detection
from modules.metrics.fid import FID
from modules.metrics.grid_kl import GridKL
from modules.metrics.inception_score import InceptionScore
from modules.metrics.kid import KID
from modules.metrics.mode_mass import ModeMass
from modules.metrics.perceptual import PerceptualDistance
from modules.metrics.prdc import PRDC
from modules.metrics.recognised import Recognised
from modules.metrics.sliced_wasserstein import SlicedWasserstein
from modules.runtime.runtime import Runtime
from modules.samplers.base import Sampler
from modules.samplers.langevin import Langevin
from modules.sampling.generation import Generation
from modules.sampling.inpainting import Inpainting
from modules.schedules.base import Schedule
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.linear import LinearSchedule
from modules.schedules.score import ScoreSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from modules.scores.base import Score
from modules.scores.denoising import DenoisingScore
from modules.scores.energy import EnergyScore, GradientNormScore, NoisyEnergyScore
from modules.scores.likelihood import LikelihoodScore
from modules.storage import checkpoints
from modules.training.best import Best
from modules.training.ema import EMA
from modules.training.guards import Guard, RaiseOnDivergence, Rollback, SkipStep
from modules.training.optimizers import AdamW, Optimizer
from modules.training.state import Training
from modules.training.trainer import Trainer
from tests.random_inception import random_inception
from tests.test_contracts_networks import ENERGIES, INITIALIZERS, OWN_INITIALIZERS

torch.set_num_threads(1)

SCHEDULES: dict[type, Callable[[], Schedule]] = {
    CosineSchedule: CosineSchedule,
    SubsampledLinearSchedule: SubsampledLinearSchedule,
    LinearSchedule: lambda: LinearSchedule(6, beta_min=0.01, beta_max=0.5),
    ContinuousSchedule: ContinuousSchedule,
}
SAMPLERS: dict[type, Callable[[], Sampler]] = {Langevin: lambda: Langevin(60)}


def _normalized(energy: Energy) -> NormalizedEnergy:
    """In float64, its start drawn from a generator of its own."""
    with torch.random.fork_rng():
        return NormalizedEnergy(energy).double()


GUIDANCES: dict[type, Callable[[], Guidance]] = {
    NoGuidance: NoGuidance,
    ClassifierFreeGuidance: lambda: ClassifierFreeGuidance(0.7),
    Composition: lambda: Composition((1, 2), (0.0, 0.0)),  # others act on samples without labels too
}
METHODS: dict[type, Callable[[Energy, Initializer], Method]] = {
    RecoveryLikelihood: lambda f, g: RecoveryLikelihood(f, g, CosineSchedule(), Langevin(2), True),
    OneEnergy: lambda f, g: OneEnergy(
        _normalized(f),
        OwnProposal(f.shape, f.num_classes),
        ContinuousSchedule(),
        Langevin(2, step_factor=0.5),
        ScoreMatching(),
        LevelScore(),
        RecoveryContrast(),
    ),
}
# of y⁺, y⁻ (b, 3) and a transition
LOSSES: dict[type, Callable[[Tensor, Tensor, Transition], Tensor]] = {
    RecoveryLikelihoodLoss: lambda x, y, c: RecoveryLikelihoodLoss(magnitude_penalty=0.1)(
        x.square().sum(1), y.square().sum(1), c
    ),
    CooperativeLoss: lambda x, y, c: CooperativeLoss()(x, y),
    WarmStart: lambda x, y, c: WarmStart(1)(x, y, x + y, c),
    ScoreMatching: lambda x, y, c: ScoreMatching(exact=True)(x, y, c).mean(),
    LevelScore: lambda x, y, c: LevelScore()(x.sum(1), y, y.flip(1), c.logsnr_t).mean(),
    RecoveryContrast: lambda x, y, c: RecoveryContrast()(x.square().sum(1), y.square().sum(1)).mean(),
}
LAWS: dict[type, Callable[[], LevelLaw]] = {
    LadderLevels: LadderLevels,
    UniformLevels: UniformLevels,
    MixedLevels: MixedLevels,
}
DIGITS = str(Path(modules.data.__file__).with_name("digits.parquet"))
DATA: dict[type, Callable[[bool], Data]] = {  # with labels or without
    Digits: lambda labels: Digits(10 if labels else 0),
    HuggingFaceData: lambda labels: HuggingFaceData(DIGITS, (1, 8, 8), num_classes=10 if labels else 0),
    Shapes: lambda labels: Shapes(num_classes=14 if labels else 0),
    Checkerboard: lambda labels: Checkerboard(num_classes=8 if labels else 0),
    GaussianMixture2D: lambda labels: GaussianMixture2D(num_classes=8 if labels else 0),
    Rings: lambda labels: Rings(num_classes=2 if labels else 0),
}
OPTIMIZERS: dict[type, Callable[[float], Optimizer]] = {AdamW: AdamW}  # of a learning rate
GUARDS: dict[type, Callable[[], Guard]] = {
    RaiseOnDivergence: RaiseOnDivergence,
    SkipStep: lambda: SkipStep(max_skips=2),
    Rollback: lambda: Rollback(max_rollbacks=2),
}
# what a metric takes, of a sample's numbers (n, 4)
METRICS: dict[type, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys((FID, KID, PRDC, SlicedWasserstein, PerceptualDistance), lambda x: x),
    **dict.fromkeys((InceptionScore, ClassAccuracy, Recognised), lambda x: x.softmax(1)),
    ModeMass: lambda x: x.argmax(1),
    **dict.fromkeys((Detection, GridKL), lambda x: x[:, 0]),
}
# with samples they take
EXTRACTORS: dict[type, Callable[[Path], tuple[Extractor, tuple[int, ...]]]] = {
    RawPixels: lambda folder: (RawPixels(), (2,)),
    DigitsClassifier: lambda folder: (DigitsClassifier(), (1, 8, 8)),
    InceptionV3: lambda folder: (InceptionV3(str(random_inception(folder))), (3, 20, 16)),
    ModuleFeatures: lambda folder: (ModuleFeatures("torch.nn.AvgPool2d", {"kernel_size": 4}), (3, 8, 8)),
}
SCORES: dict[type, Callable[[], Score]] = {
    kind: kind for kind in (EnergyScore, NoisyEnergyScore, GradientNormScore, DenoisingScore, LikelihoodScore)
}

TABLES: list[tuple[type, dict]] = [
    (Schedule, SCHEDULES),
    (Sampler, SAMPLERS),
    (Guidance, GUIDANCES),
    (Method, METHODS),
    (Data, DATA),
    (Optimizer, OPTIMIZERS),
    (Guard, GUARDS),
    (Score, SCORES),
    (Energy, ENERGIES),
    (Initializer, INITIALIZERS | OWN_INITIALIZERS),
    (LevelLaw, LAWS),
    (Metric, METRICS),
    (Extractor, EXTRACTORS),
]
SINGLE = {Best, EMA, Evaluation, Generation, Inpainting, Runtime, Trainer}  # with test files of their own


def _classes() -> set[type]:
    """Every class that a module of modules/ defines."""
    found = set()
    for info in pkgutil.walk_packages(modules.__path__, "modules."):
        module = importlib.import_module(info.name)
        found |= {k for _, k in inspect.getmembers(module, inspect.isclass) if k.__module__ == info.name}
    return found


CLASSES = _classes()


def _registered(kind: type) -> bool:
    try:
        return gin.get_configurable(kind) is not None
    except ValueError:
        return False


def test_tables_are_complete() -> None:
    for base, table in TABLES:
        concrete = {k for k in CLASSES if issubclass(k, base) and not inspect.isabstract(k)}
        assert concrete == set(table), base.__name__
    public = {k for k in CLASSES if k.__module__.startswith("modules.losses.") and k.__name__[0] != "_"}
    assert public == set(LOSSES) | set(LAWS) | {LevelLaw, Phase}


COMPONENTS = SINGLE.union(LOSSES, *(table for _, table in TABLES))


def test_components_are_what_gin_can_configure() -> None:
    assert {k for k in CLASSES if _registered(k)} == COMPONENTS


@pytest.mark.parametrize("kind", sorted(COMPONENTS, key=lambda k: k.__name__), ids=lambda k: k.__name__)
def test_component(kind: type) -> None:
    """Final, documented, and with types of all arguments."""
    assert not [k for k in CLASSES if issubclass(k, kind) and k is not kind], "a class is abstract or final"
    assert kind.__doc__
    for name, parameter in inspect.signature(kind).parameters.items():
        assert parameter.annotation is not parameter.empty, name
        assert any(base.__doc__ and name in base.__doc__ for base in kind.__mro__), f"{name} isn't explained"


def _each(table: dict) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", table, ids=lambda k: k.__name__)


ROWS = torch.arange(6)
LEVELS = torch.tensor([1, 2, 3, 4, 5, 6])
LABEL = torch.tensor([0, -1, 2, 1, 0, 2])


def _noise(rows: Tensor = ROWS, step: int = 0) -> Noise:
    return Noise(3, rows, step, "contract", torch.float64)


def _points(purpose: str = "points", dim: int = 3) -> Tensor:
    return _noise().normal(purpose, (dim,))


@pytest.fixture
def networks() -> tuple[MLPEnergy, MLPInitializer]:
    """Conditional, float64, every parameter moved off its start."""
    torch.manual_seed(0)
    pair = MLPEnergy((3,), 3, width=16, depth=1), MLPInitializer((3,), 3, width=16, depth=1)
    for network in pair:
        network.double()
        for p in network.parameters():
            nn.init.normal_(p, std=0.3)
    return pair


@pytest.fixture
def same_generator():
    """Nobody draws from the global generator."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


@_each(SCHEDULES)
def test_schedule(kind: type, same_generator) -> None:
    schedule = SCHEDULES[kind]()
    t = LEVELS[[3, 0, 0, 5]]
    for dtype in (torch.float32, torch.float64):
        c = schedule.transition(t, dtype)
        precise = schedule.transition(t, torch.float64)
        for field in fields(Transition):
            values = getattr(c, field.name)
            wanted = {"t": torch.int64, "is_top": torch.bool}.get(field.name, dtype)
            assert values.shape == (4,) and values.dtype == wanted, field.name
            torch.testing.assert_close(
                values.double(), getattr(precise, field.name).double(), rtol=1e-6, atol=0
            )
        assert torch.equal(c.t, t)
        assert (c.energy_scale > 0).all() and (c.step_size > 0).all() and (c.loss_weight > 0).all()
        torch.testing.assert_close(c.alpha_t, c.alpha_ts * c.alpha_s)
        torch.testing.assert_close(c.sigma_t**2, (c.alpha_ts * c.sigma_s) ** 2 + c.sigma_ts**2)
    assert schedule.same_as(SCHEDULES[kind]())
    assert not any(schedule.same_as(make()) for other, make in SCHEDULES.items() if other is not kind)


def _potential(energy: Energy, rows: Tensor = ROWS) -> tuple[RecoveryPotential, Tensor]:
    """Of rows of the batch, and their step sizes."""
    c = CosineSchedule().transition(LEVELS[rows], torch.float64)
    return RecoveryPotential(energy.at(c, LABEL[rows]), c, _points("x_t")[rows]), c.step_size


@_each(SAMPLERS)
def test_sampler(kind: type, networks, same_generator) -> None:
    energy, _ = networks
    sampler, y = SAMPLERS[kind](), _points("start").requires_grad_()
    start = y.detach().clone()
    potential, step_size = _potential(energy)
    chain = sampler.sample(potential, y, step_size, _noise())
    assert chain.y.shape == y.shape and chain.y.dtype == y.dtype and not chain.y.requires_grad
    assert chain.grad_norm.shape == chain.displacement.shape == (6,)
    assert torch.equal(y.detach(), start), "the start was changed in place"
    moved = (chain.y - start).square().mean(1).sqrt()
    torch.testing.assert_close(chain.displacement, moved)
    assert (moved > 0).all() and all(p.grad is None for p in energy.parameters())
    assert torch.equal(sampler.sample(potential, y, step_size, _noise()).y, chain.y)
    assert not torch.equal(sampler.sample(potential, y, step_size, _noise(step=1)).y, chain.y)

    # a row doesn't know the others
    rows = torch.tensor([4, 1])
    part, part_size = _potential(energy, rows)
    alone = sampler.sample(part, start[rows], part_size, _noise(rows))
    torch.testing.assert_close(alone.y, chain.y[rows], rtol=1e-9, atol=1e-9)

    # what isn't free stays, to the bit
    free = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    held = sampler.sample(potential, y, step_size, _noise(), free=free).y
    assert torch.equal(held[:, 1], start[:, 1]) and (held[:, [0, 2]] != start[:, [0, 2]]).all()


class _Bowl:
    """U = ||y - 1||²/2."""

    def __call__(self, y: Tensor) -> Tensor:
        return 0.5 * (y - 1).square().flatten(1).sum(1)

    def grad(self, y: Tensor) -> Tensor:
        return y.detach() - 1

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self(y), self.grad(y)


@_each(SAMPLERS)
def test_sampler_samples(kind: type) -> None:
    """From afar it gets near N(1, I), at a step size of 0.5: mean within 0.1, variance within 10%."""
    rows = torch.arange(4_000)
    start = torch.full((4_000, 1, 1, 2), -2.0, dtype=torch.float64)
    size = torch.full((4_000,), 0.5, dtype=torch.float64)
    y = SAMPLERS[kind]().sample(_Bowl(), start, size, _noise(rows)).y
    assert (y.mean(0) - 1).abs().max() < 0.1 and (y.var(0) - 1).abs().max() < 0.13


@_each(GUIDANCES)
def test_guidance(kind: type, networks, same_generator) -> None:
    energy, initializer = networks
    guidance, x = GUIDANCES[kind](), _points()
    c = CosineSchedule().transition(LEVELS, torch.float64)
    value, mean = guidance.energy(energy, c, LABEL)(x), guidance.mean(initializer, x, c, LABEL)
    assert value.shape == (6,) and mean.shape == x.shape

    # without labels it is the plain model
    none = torch.full_like(LABEL, -1)
    torch.testing.assert_close(guidance.energy(energy, c, none)(x), energy(x, c, none))
    torch.testing.assert_close(guidance.mean(initializer, x, c, none), initializer(x, c, none))
    # and a label matters where there is one
    for guided, plain in ((value, energy(x, c, none)), (mean, initializer(x, c, none))):
        changed = (guided - plain).reshape(6, -1).abs().amax(1) > 1e-6
        assert torch.equal(changed, LABEL >= 0)

    # a row doesn't know the others
    rows = torch.tensor([4, 0])
    part = c.map(lambda v: v[rows])
    torch.testing.assert_close(guidance.energy(energy, part, LABEL[rows])(x[rows]), value[rows])
    torch.testing.assert_close(guidance.mean(initializer, x[rows], part, LABEL[rows]), mean[rows])

    # chains differentiate it in y, whatever y it was bound beside
    bound = guidance.energy(energy, c, LABEL)
    assert torch.autograd.gradcheck(bound, (x.clone().requires_grad_(),))


@_each(METHODS)
def test_method(kind: type, networks, same_generator) -> None:
    method = METHODS[kind](*networks)
    batch = Batch(_points("data"), LABEL)
    method.begin_step(0)
    out = method(batch, _noise())
    names = set(method.networks())
    assert "energy" in names <= {"energy", "initializer"} and set(out.losses) <= names
    assert out.t.shape == (6,) and out.t.min() >= 1 and out.t.max() <= method.schedule.num_levels
    assert out.watch and all(v.shape == (6,) and not v.requires_grad for v in out.watch.values())
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in out.losses.values())

    # all that learn get gradients, and the outcome is the noise's and the step's alone
    sum(out.losses.values()).backward()
    for name, loss in out.losses.items():
        assert any((p.grad != 0).any() for p in method.networks()[name].parameters() if p.grad is not None), (
            name
        )
        torch.testing.assert_close(method(batch, _noise()).losses[name], loss, rtol=1e-12, atol=0)
        assert method(batch, _noise(step=1)).losses[name] != loss

    # micro-batches: rows keep their numbers
    rows = torch.tensor([3, 5])
    part = method(Batch(batch.image[rows], LABEL[rows]), _noise(rows))
    assert torch.equal(part.t, out.t[rows])
    for name, values in part.watch.items():
        torch.testing.assert_close(values, out.watch[name][rows], rtol=1e-9, atol=1e-9)
    assert method.models({}) == (method.energy, method.initializer)


@_each(LAWS)
@pytest.mark.parametrize("make", [ContinuousSchedule, SCHEDULES[LinearSchedule]])
def test_level_law(kind: type, make: Callable[[], ScoreSchedule], same_generator) -> None:
    """λ between the ladder's ends, for each row by its own noise alone."""
    schedule, law = make(), LAWS[kind]()
    logsnr = law.draw(schedule, _noise())
    assert logsnr.shape == (6,) and logsnr.dtype == torch.float64 and len(logsnr.unique()) > 1
    assert logsnr.min() >= schedule.logsnr_min and logsnr.max() <= schedule.logsnr_max
    rows = torch.tensor([4, 1])
    assert torch.equal(law.draw(schedule, _noise(rows)), logsnr[rows])
    assert not torch.equal(law.draw(schedule, _noise(step=1)), logsnr)


@_each(LOSSES)
def test_loss(kind: type, same_generator) -> None:
    c = CosineSchedule().transition(LEVELS, torch.float64)
    x, y = _points("x").requires_grad_(), _points("y")
    loss = LOSSES[kind](x, y, c)
    assert loss.ndim == 0 and loss.dtype == torch.float64 and torch.isfinite(loss)
    (grad,) = torch.autograd.grad(loss, x)
    assert (grad != 0).all()
    # the mean of two halves: micro-batches of equal size may be averaged
    halves = [LOSSES[kind](x[i], y[i], c.map(lambda v, i=i: v[i])) for i in (slice(3), slice(3, 6))]
    torch.testing.assert_close((halves[0] + halves[1]) / 2, loss)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[type, bool], tuple[Data, Examples]]:
    """Every set with labels and without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        made = {(kind, labels): make(labels) for kind, make in DATA.items() for labels in (True, False)}
        return {key: (data, data.open()) for key, data in made.items()}


@_each(DATA)
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


@_each(GUARDS)
def test_guard(kind: type, networks, tmp_path, same_generator) -> None:
    """It is bounded, brings no weights but a checkpoint's, and keeps the counts that it acts on."""
    guard = GUARDS[kind]()
    assert guard.max_energy == 1e4 and guard.exhausted
    method = METHODS[RecoveryLikelihood](*networks)
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


@_each(SCORES)
def test_score(kind: type, networks, same_generator) -> None:
    """A number an image, the same wherever it stands, without gradients of parameters."""
    score, (energy, initializer) = SCORES[kind](), networks
    energy = _normalized(energy)
    x, schedule = _points(), CosineSchedule()
    score.check(initializer, schedule)
    values = score(energy, initializer, schedule, x)
    assert values.shape == (6,) and values.dtype == torch.float64 and not values.requires_grad
    assert torch.equal(score(energy, initializer, schedule, x), values)
    rows = torch.tensor([4, 1])
    torch.testing.assert_close(score(energy, initializer, schedule, x[rows]), values[rows])


@_each(OPTIMIZERS)
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


@_each(METRICS)
def test_metric(kind: type, same_generator) -> None:
    """One value for one set of samples, whatever the batches; afterwards all is forgotten."""
    metric, indices = kind(), torch.arange(40)
    here, there = (METRICS[kind](_noise(indices).normal(side, (4,))) for side in ("here", "there"))
    if isinstance(metric, PairMetric):
        there = there if kind in (GridKL, PerceptualDistance) else indices % 2
    assert metric.takes in ("features", "probabilities", "classes", "modes", "density", "own")
    values = metric.compute(predictions=here, references=there)
    assert values and all(isinstance(v, float) for v in values.values()) and len(metric) == 0
    for rows in indices.flip(0).split(17):
        metric.add_batch(predictions=here[rows], references=there[rows], indices=rows)
    assert len(metric) == 40
    assert metric.compute() == pytest.approx(values, rel=1e-10, abs=1e-10)
    assert metric.compute(predictions=here, references=there) == values
    labels = [other.label for other in METRICS]
    assert labels.count(metric.label) == 1


@_each(EXTRACTORS)
def test_extractor(kind: type, same_generator, tmp_path, monkeypatch) -> None:
    """Rows of float32 that don't know each other, and what they were made by."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    extractor, shape = EXTRACTORS[kind](tmp_path)
    x = _noise(torch.arange(3)).normal("x", shape)
    x = (100 + 40 * x).clamp(0, 255).to(torch.uint8) if len(shape) == 3 else x
    features = extractor.open(shape, torch.device("cpu"))
    out = features.extract(x)
    assert out.features.shape[0] == 3 and out.features.ndim == 2 and out.features.dtype == torch.float32
    assert (out.logits is not None) == features.has_logits
    assert features.protocol.keys() >= {"extractor", "weights", "resize"}
    alone = extractor.open(shape, torch.device("cpu"))
    assert alone.protocol == features.protocol
    torch.testing.assert_close(alone.extract(x[1:2]).features, out.features[1:2], rtol=1e-4, atol=1e-5)
    assert (out.features[0] - out.features[1]).abs().max() > 1e-3
    assert not out.features.requires_grad
    if features.maps is not None:
        maps = features.maps(x)
        assert len(maps) > 1 and all(len(m) == 3 and m.dtype == torch.float32 for m in maps)
