"""A stranger's file with a class of every kind that a run is made of; each says when it is used.

tests/config/test_every_kind.py gives it to launch.py by --import, as a file beside the project.
"""

import math

import gin
import torch
from accelerate.tracking import GeneralTracker
from torch import nn

from modules.core import Chain, LossOutput, expand_as, norm_per_sample, rms_per_sample
from modules.data import Data, Examples
from modules.energies import Energy, RecoveryPotential
from modules.features import Extracted, Extractor, Features
from modules.guidance import Guidance
from modules.initializers import Initializer
from modules.losses import (
    CooperativeLoss,
    FokkerPlanck,
    LevelLaw,
    LevelScore,
    RecoveryContrast,
    RecoveryLikelihoodLoss,
    ScoreMatching,
    WarmStart,
)
from modules.methods import Method, RecoveryLikelihood
from modules.metrics import Moments, SetMetric
from modules.runtime import Runtime
from modules.samplers import Sampler
from modules.sampling import Generation, Inpainting, LinearMap
from modules.schedules import Schedule, independent_pair
from modules.scores import Score
from modules.training import EMA, Best, Guard, Optimizer

USED: set[str] = set()


def used(component):
    USED.add(type(component).__name__)


@gin.register
class MySchedule(Schedule):
    """ᾱ_t = (1 - t/(T+1))²·0.999."""

    def __init__(self, num_levels=3):
        super().__init__(num_levels)

    def ladder(self):
        used(self)
        t = torch.arange(self.num_levels + 1, dtype=torch.float64)
        alpha_bar = 0.999 * (1 - t / (self.num_levels + 1)) ** 2
        return alpha_bar, 1 - alpha_bar

    def coefficients(self, ladder):
        step = 0.1 * ladder["sigma_ts"]
        ones = torch.ones_like(step)
        is_top = torch.arange(self.num_levels) == self.num_levels - 1
        return {
            "energy_scale": step**2,
            "step_size": step,
            "loss_weight": ones,
            "is_top": is_top,
            "y_scale": ones,
        }


@gin.register
class MyEnergy(Energy):
    """E = s²(<a, y> + λ_s/10)."""

    def __init__(self, shape=(1, 4, 4), num_classes=2):
        super().__init__(shape, num_classes)
        self.a = nn.Linear(math.prod(self.shape), 1)

    def forward(self, y, transition, label=None):
        used(self)
        return 0.01 * torch.tanh(self.a(y.flatten(1))[:, 0] + transition.logsnr_s / 10)


@gin.register
class MyInitializer(Initializer):
    """A learnt share of x_t."""

    def __init__(self, shape=(1, 4, 4), num_classes=2):
        super().__init__(shape, num_classes)
        self.share = nn.Parameter(torch.ones(()))

    def mean(self, x_t, transition, label=None):
        used(self)
        return self.share * x_t


@gin.register
class MySampler(Sampler):
    """Steps of gradient, fewer at the last level, with a figure to be watched."""

    def __init__(self, num_steps=2):
        self.num_steps, self.is_last = num_steps, None

    def at(self, transition):
        here = MySampler(self.num_steps)
        here.is_last = transition.t == 1
        return here

    def sample(self, potential, y, step_size, noise, free=None):
        used(self)
        start, step = y, expand_as(0.1 * step_size * ~self.is_last, y)
        for _ in range(self.num_steps):
            grad = potential.grad(y)
            y = y - step**2 * grad * (1 if free is None else free)
        figures = {"last_level": self.is_last.to(y.dtype)}
        return Chain(y, norm_per_sample(grad), rms_per_sample(y - start), figures=figures)


@gin.register
class MyLoss(RecoveryLikelihoodLoss):
    """A contrast that fails once, for a guard to mend."""

    def __init__(self):
        super().__init__()
        self.failed = False

    def __call__(self, positive, negative, transition):
        used(self)
        factor, self.failed = (1 if self.failed else math.nan), True
        return factor * (positive - negative).mean()


@gin.register
class MyCooperativeLoss(CooperativeLoss):
    def __call__(self, proposal, revised):
        used(self)
        return (proposal - revised).abs().mean()


@gin.register
class MyWarmStart(WarmStart):
    def __call__(self, mean, x, x_t, transition):
        used(self)
        return (mean - x).square().mean()


@gin.register
class MyGuidance(Guidance):
    def energy(self, energy, transition, label):
        used(self)
        bound = energy.at(transition, label)
        return lambda y: 2 * bound(y)

    def mean(self, initializer, x_t, transition, label):
        return initializer.mean(x_t, transition, label)


@gin.register
class MyMethod(RecoveryLikelihood):
    """Chains that begin where the last ones ended."""

    def start_chains(self, proposal, x_t, transition, label, noise):
        used(self)
        return proposal.detach()


@gin.register
class MyWholeMethod(Method):
    """A method from nothing."""

    def __init__(self, energy, initializer, schedule, sampler):
        super().__init__(energy, initializer, schedule)
        self.sampler = sampler

    def forward(self, batch, noise):
        used(self)
        t = noise.integers("t", 1, self.schedule.num_levels + 1)
        c = self.schedule.transition(t, batch.image.dtype)
        x_s, x_t = independent_pair(batch.image, c, noise)
        potential = RecoveryPotential(self.energy.at(c, batch.label), c, x_t)
        chain = self.sampler.at(c).sample(potential, x_t, c.step_size, noise)
        gap = self.energy(x_s, c, batch.label) - self.energy(chain.y, c, batch.label)
        regret = (self.initializer.mean(x_t, c) - x_s).square().mean()
        return LossOutput({"energy": gap.mean(), "initializer": regret}, t, {"gap": gap.detach()})


class MyExamples(Examples):
    shape, class_names = (1, 4, 4), ["dark", "bright"]

    def __len__(self):
        return 32

    def rows(self, indices):
        used(self)
        bright = indices % 2
        return (bright - 0.5)[:, None, None, None].expand(-1, 1, 4, 4).clone(), bright[:, None]


@gin.register
class MyData(Data):
    def __init__(self):
        super().__init__((1, 4, 4), 2)

    def open(self):
        used(self)
        return MyExamples()


@gin.register
class MyOptimizer(Optimizer):
    def make(self, parameters):
        used(self)
        return torch.optim.SGD(parameters, self.lr)


@gin.register
class MyGuard(Guard):
    """Leaves one step out."""

    exhausted = "a step was left out before"

    def remedy(self, training, run):
        used(self)
        if training.num_skips:
            return None
        training.skip()
        return "left out"


@gin.register
class MyEMA(EMA):
    def update(self, average, network, num_updates):
        used(self)
        super().update(average, network, num_updates)


@gin.register
class MyBest(Best):
    def after(self, best, step, value):
        used(self)
        return super().after(best, step, value)


@gin.register
class MyMetric(SetMetric):
    label, takes = "brightness", "features"

    def make_store(self):
        return Moments()

    def summary(self, x, indices):
        return x.mean(1, keepdim=True)

    def figures(self):
        used(self)
        return {"brightness": float((self.predictions.mean - self.references.mean).abs())}


@gin.register
class MyExtractor(Extractor):
    def open(self, shape, device):
        used(self)
        return Features(lambda x: Extracted(x.float().flatten(1) / 255), {"extractor": "mine"}, False)


@gin.register
class MyTracker(GeneralTracker):
    name, requires_logging_directory = "mine", False

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        pass

    def log(self, values, step=None, **kwargs):
        used(self)


@gin.register
class MyRuntime(Runtime):
    def track(self, values, step):
        used(self)
        super().track(values, step)


@gin.register
class MyInpainting(Inpainting):
    def path(self, image, schedule, noise):
        used(self)
        return super().path(image, schedule, noise)


@gin.register
class MyGeneration(Generation):
    def walk(self, networks, draw):
        used(self)
        return super().walk(networks, draw)


@gin.register
class MyScore(Score):
    def __call__(self, networks, x, seed=0):
        used(self)
        return -x.flatten(1).mean(1)


@gin.register
class MyMap(LinearMap):
    """The mean of the pixels, A Aᵀ = 1/16."""

    norm_squared = 1 / 16

    def __call__(self, x):
        used(self)
        return x.flatten(1).mean(1, keepdim=True)


@gin.register
class MyLevels(LevelLaw):
    def draw(self, schedule, noise):
        used(self)
        u = noise.uniform("level")
        return schedule.logsnr_min + u * (schedule.logsnr_max - schedule.logsnr_min)


@gin.register
class MyScoreMatching(ScoreMatching):
    def __call__(self, slope, eps, transition):
        used(self)
        return (slope - eps).flatten(1).abs().sum(1)


@gin.register
class MyLevelScore(LevelScore):
    def __call__(self, level_slope, x, eps, logsnr):
        used(self)
        return super().__call__(level_slope, x, eps, logsnr).clamp(max=10)


@gin.register
class MyFokkerPlanck(FokkerPlanck):
    def __call__(self, level_slope, target, size):
        used(self)
        return (level_slope - target).abs() / size


@gin.register
class MyContrast(RecoveryContrast):
    def __call__(self, positive, negative):
        used(self)
        return torch.tanh(positive - negative)
