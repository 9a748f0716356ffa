"""What every component keeps; a class of modules/ that is left out of its table fails.

Here schedules, samplers, guidances, methods and losses; test_contracts_*.py have the others.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import fields

import gin
import pytest
import torch
from torch import Tensor

import modules
from modules.core.types import Batch, Transition
from modules.data.base import Data
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.recovery import RecoveryPotential
from modules.evaluation.evaluation import Evaluation
from modules.features.base import Extractor
from modules.guidance.base import Guidance
from modules.guidance.classifier_free import ClassifierFreeGuidance
from modules.guidance.composition import Composition
from modules.guidance.none import NoGuidance
from modules.initializers.base import Initializer
from modules.initializers.mlp import MLPInitializer
from modules.initializers.own import OwnProposal
from modules.losses.contrast import RecoveryContrast
from modules.losses.cooperative import CooperativeLoss, WarmStart
from modules.losses.fokker_planck import FokkerPlanck
from modules.losses.levels import LadderLevels, LevelLaw, MixedLevels, UniformLevels
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.losses.phase import Phase
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.base import Method
from modules.methods.networks import Networks
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.metrics.base import Metric
from modules.runtime.runtime import Runtime
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.samplers.base import Sampler
from modules.samplers.hamiltonian import Hamiltonian
from modules.samplers.langevin import Langevin
from modules.samplers.underdamped import UnderdampedLangevin
from modules.sampling.generation import Generation
from modules.sampling.inpainting import Inpainting
from modules.sampling.measuring import Blur, Downsampling, LinearMap, RandomPixels
from modules.schedules.base import Schedule
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.schedules.linear import LinearSchedule
from modules.schedules.score import ScoreSchedule
from modules.schedules.subsampled_linear import SubsampledLinearSchedule
from modules.scores.base import Score
from modules.training.best import Best
from modules.training.ema import EMA
from modules.training.guards import Guard
from modules.training.optimizers import Optimizer
from modules.training.trainer import Trainer
from tests.contracts import LABEL, LEVELS, ROWS, each, noise, normalized, points, small_networks
from tests.test_contracts_measures import EXTRACTORS, METRICS, SCORES
from tests.test_contracts_networks import ENERGIES, INITIALIZERS, OWN_INITIALIZERS
from tests.test_contracts_training import DATA, GUARDS, OPTIMIZERS

torch.set_num_threads(1)

SCHEDULES: dict[type, Callable[[], Schedule]] = {
    CosineSchedule: CosineSchedule,
    SubsampledLinearSchedule: SubsampledLinearSchedule,
    LinearSchedule: lambda: LinearSchedule(6, beta_min=0.01, beta_max=0.5),
    ContinuousSchedule: ContinuousSchedule,
}
SAMPLERS: dict[type, Callable[[], Sampler]] = {
    Langevin: lambda: Langevin(60),
    AdjustedLangevin: lambda: AdjustedLangevin(60, num_warmup=60),
    Hamiltonian: lambda: Hamiltonian(30, num_warmup=60),
    UnderdampedLangevin: lambda: UnderdampedLangevin(60, num_warmup=60),
}
GUIDANCES: dict[type, Callable[[], Guidance]] = {
    NoGuidance: NoGuidance,
    ClassifierFreeGuidance: lambda: ClassifierFreeGuidance(0.7),
    Composition: lambda: Composition((1, 2), (0.0, 0.0)),  # others act on samples without labels too
}
METHODS: dict[type, Callable[[Energy, Initializer], Method]] = {
    RecoveryLikelihood: lambda f, g: RecoveryLikelihood(f, g, CosineSchedule(), Langevin(2), True),
    OneEnergy: lambda f, g: OneEnergy(
        normalized(f),
        OwnProposal(f.shape, f.num_classes),
        ContinuousSchedule(),
        Langevin(2, step_factor=0.5),
        ScoreMatching(),
        LevelScore(),
        RecoveryContrast(),
        fokker_planck=FokkerPlanck(),
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
    FokkerPlanck: lambda x, y, c: FokkerPlanck()(x.sum(1), y.sum(1), 3).mean(),
    RecoveryContrast: lambda x, y, c: RecoveryContrast()(x.square().sum(1), y.square().sum(1)).mean(),
}
LAWS: dict[type, Callable[[], LevelLaw]] = {
    LadderLevels: LadderLevels,
    UniformLevels: UniformLevels,
    MixedLevels: MixedLevels,
}
MAPS: dict[type, Callable[[], LinearMap]] = {
    Downsampling: Downsampling,
    Blur: Blur,
    RandomPixels: RandomPixels,
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
    (LinearMap, MAPS),
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
        public = {k for k in CLASSES if k.__name__[0] != "_"}
        concrete = {k for k in public if issubclass(k, base) and not inspect.isabstract(k)}
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


@pytest.fixture
def networks() -> tuple[MLPEnergy, MLPInitializer]:
    """See small_networks."""
    return small_networks()


@each(SCHEDULES)
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
    return RecoveryPotential(energy.at(c, LABEL[rows]), c, points("x_t")[rows]), c.step_size


@each(SAMPLERS)
def test_sampler(kind: type, networks, same_generator) -> None:
    energy, _ = networks
    sampler, y = SAMPLERS[kind](), points("start").requires_grad_()
    start = y.detach().clone()
    potential, step_size = _potential(energy)
    chain = sampler.sample(potential, y, step_size, noise())
    assert chain.y.shape == y.shape and chain.y.dtype == y.dtype and not chain.y.requires_grad
    assert chain.grad_norm.shape == chain.displacement.shape == (6,)
    assert torch.equal(y.detach(), start), "the start was changed in place"
    moved = (chain.y - start).square().mean(1).sqrt()
    torch.testing.assert_close(chain.displacement, moved)
    assert (moved > 0).all() and all(p.grad is None for p in energy.parameters())
    assert torch.equal(sampler.sample(potential, y, step_size, noise()).y, chain.y)
    assert not torch.equal(sampler.sample(potential, y, step_size, noise(step=1)).y, chain.y)

    # a row doesn't know the others
    rows = torch.tensor([4, 1])
    part, part_size = _potential(energy, rows)
    alone = sampler.sample(part, start[rows], part_size, noise(rows))
    torch.testing.assert_close(alone.y, chain.y[rows], rtol=1e-9, atol=1e-9)

    # what isn't free stays, to the bit
    free = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    held = sampler.sample(potential, y, step_size, noise(), free=free).y
    assert torch.equal(held[:, 1], start[:, 1]) and (held[:, [0, 2]] != start[:, [0, 2]]).all()


class _Bowl:
    """U = ||y - 1||²/2."""

    def __call__(self, y: Tensor) -> Tensor:
        return 0.5 * (y - 1).square().flatten(1).sum(1)

    def grad(self, y: Tensor) -> Tensor:
        return y.detach() - 1

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self(y), self.grad(y)


@each(SAMPLERS)
def test_sampler_samples(kind: type) -> None:
    """From afar it gets near N(1, I), at a step size of 0.5: mean within 0.1, variance within 10%."""
    rows = torch.arange(4_000)
    start = torch.full((4_000, 1, 1, 2), -2.0, dtype=torch.float64)
    size = torch.full((4_000,), 0.5, dtype=torch.float64)
    y = SAMPLERS[kind]().sample(_Bowl(), start, size, noise(rows)).y
    assert (y.mean(0) - 1).abs().max() < 0.1 and (y.var(0) - 1).abs().max() < 0.13


@each(GUIDANCES)
def test_guidance(kind: type, networks, same_generator) -> None:
    energy, initializer = networks
    guidance, x = GUIDANCES[kind](), points()
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


@each(METHODS)
def test_method(kind: type, networks, same_generator) -> None:
    method = METHODS[kind](*networks)
    batch = Batch(points("data"), LABEL)
    method.begin_step(0)
    out = method(batch, noise())
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
        torch.testing.assert_close(method(batch, noise()).losses[name], loss, rtol=1e-12, atol=0)
        assert method(batch, noise(step=1)).losses[name] != loss

    # micro-batches: rows keep their numbers
    rows = torch.tensor([3, 5])
    part = method(Batch(batch.image[rows], LABEL[rows]), noise(rows))
    assert torch.equal(part.t, out.t[rows])
    for name, values in part.watch.items():
        torch.testing.assert_close(values, out.watch[name][rows], rtol=1e-9, atol=1e-9)
    assert method.models() == Networks(method.energy, method.initializer, method.schedule)


@each(LAWS)
@pytest.mark.parametrize("make", [ContinuousSchedule, SCHEDULES[LinearSchedule]])
def test_level_law(kind: type, make: Callable[[], ScoreSchedule], same_generator) -> None:
    """λ between the ladder's ends, for each row by its own noise alone."""
    schedule, law = make(), LAWS[kind]()
    logsnr = law.draw(schedule, noise())
    assert logsnr.shape == (6,) and logsnr.dtype == torch.float64 and len(logsnr.unique()) > 1
    assert logsnr.min() >= schedule.logsnr_min and logsnr.max() <= schedule.logsnr_max
    rows = torch.tensor([4, 1])
    assert torch.equal(law.draw(schedule, noise(rows)), logsnr[rows])
    assert not torch.equal(law.draw(schedule, noise(step=1)), logsnr)


@each(MAPS)
def test_linear_map(kind: type, same_generator) -> None:
    """Linear, a row by itself, twice the same; its adjoint is no longer than it says."""
    map, x = MAPS[kind](), noise().normal("images", (3, 4, 4)).requires_grad_()
    out = map(x)
    assert out.shape[0] == 6 and out.dtype == x.dtype
    torch.testing.assert_close(map(2 * x), 2 * out)
    torch.testing.assert_close(map(x[[4, 1]]), out[[4, 1]])
    (adjoint,) = torch.autograd.grad((out * out.detach()).sum(), x)
    assert (adjoint.square().sum() <= map.norm_squared * out.square().sum() * (1 + 1e-9)).item()


@each(LOSSES)
def test_loss(kind: type, same_generator) -> None:
    c = CosineSchedule().transition(LEVELS, torch.float64)
    x, y = points("x").requires_grad_(), points("y")
    loss = LOSSES[kind](x, y, c)
    assert loss.ndim == 0 and loss.dtype == torch.float64 and torch.isfinite(loss)
    (grad,) = torch.autograd.grad(loss, x)
    assert (grad != 0).all()
    # the mean of two halves: micro-batches of equal size may be averaged
    halves = [LOSSES[kind](x[i], y[i], c.map(lambda v, i=i: v[i])) for i in (slice(3), slice(3, 6))]
    torch.testing.assert_close((halves[0] + halves[1]) / 2, loss)
