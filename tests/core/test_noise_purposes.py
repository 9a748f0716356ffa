"""Two purposes never share a stream: of all numbers that one seed gives, each is given out once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from modules.analysis.ancestral import AncestralPath, walk
from modules.analysis.annealing import AnnealingPath, anneal, tune
from modules.analysis.chains import along_ladder, at_level, starts
from modules.analysis.detection import MADE, chosen, make
from modules.analysis.likelihood import by_denoising, by_evaluation
from modules.core.noise import Noise
from modules.core.types import Batch
from modules.data.base import Examples
from modules.data.digits import Digits
from modules.data.points import Checkerboard, GaussianMixture2D, Rings
from modules.data.quantization import dequantized
from modules.data.shapes import Shapes
from modules.data.stream import TrainingStream
from modules.energies.mlp import MLPEnergy
from modules.energies.normalized import NormalizedEnergy
from modules.initializers.own import OwnProposal
from modules.losses.contrast import RecoveryContrast
from modules.losses.fokker_planck import FokkerPlanck
from modules.losses.levels import LadderLevels, LevelLaw, MixedLevels
from modules.losses.score import LevelScore, ScoreMatching
from modules.methods.networks import Networks
from modules.methods.one_energy import OneEnergy
from modules.methods.recovery import RecoveryLikelihood
from modules.metrics.bootstrap import half_samples
from modules.metrics.fid import FID
from modules.metrics.kid import KID
from modules.metrics.sliced_wasserstein import directions
from modules.runs.interpolation import interpolate
from modules.runs.model import Model
from modules.runtime.runtime import Runtime
from modules.samplers.adjusted_langevin import AdjustedLangevin
from modules.samplers.hamiltonian import Hamiltonian
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.sampling.inpainting import Inpainting, Known
from modules.sampling.masks import named
from modules.schedules.continuous import ContinuousSchedule
from modules.schedules.cosine import CosineSchedule
from modules.scores.energy import NoisyEnergyScore
from tests.contracts import LABEL, ROWS, small_networks

torch.set_num_threads(1)

Given = list[tuple[object, ...]]
"""(seed, stream, step, purpose, draw, row) of each number that was given out."""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """What every Noise gives out from here on, in the order in which it's asked."""
    words, noted = Noise._words, Given()

    def watched(self: Noise, purpose: str, count: int, draws: range) -> Tensor:
        rows = sorted(set(self.rows.tolist()))  # frames of one way may share a row on purpose
        noted.extend((self.seed, self.stream, self.step, purpose, k, row) for k in draws for row in rows)
        return words(self, purpose, count, draws)

    monkeypatch.setattr(Noise, "_words", watched)
    return noted


def _twice(given: Given) -> list[object]:
    """The purposes whose numbers were given out more than once."""
    seen: set[object] = set()
    return sorted({str(key[:4]) for key in given if key in seen or seen.add(key)})


def _noise(stream: str = "train") -> Noise:
    return Noise(0, ROWS, 0, stream, torch.float64)


def _batch(dim: int = 3) -> Batch:
    return Batch(torch.linspace(-1, 1, 6 * dim, dtype=torch.float64).reshape(6, dim), LABEL)


def _walk(shared_noise: bool) -> None:
    energy, initializer = small_networks()
    image = _batch().image
    known = Known(image, torch.tensor([True, False, True]).expand(6, 3))
    draw = Draw(LABEL, _noise("sample"), known=known)
    Generation(Langevin(2), inpainting=Inpainting(shared_noise)).sample(
        Networks(energy, initializer, CosineSchedule()), draw
    )


class Small(Model):
    """The small networks."""

    schedule = CosineSchedule()
    data = Checkerboard()
    name, step, weights, evaluation = "small", 0, "live", None

    def __init__(self) -> None:
        self.energy, self.initializer = small_networks()
        self.generation, self.runtime = Generation(Langevin(2)), Runtime(trackers=())

    def open_data(self) -> Examples:
        return self.data.open()


def _ways(between_images: bool, shared_noise: bool) -> None:
    model = Small()
    images = _batch().image[:2]
    pairs: int | tuple[Tensor, Tensor] = (images, -images) if between_images else 2
    interpolate(model, pairs, 3, shared_noise=shared_noise, dtype=torch.float64)


def _recovery(shared_noise: bool) -> None:
    method = RecoveryLikelihood(
        *small_networks(), CosineSchedule(), Langevin(2), shared_noise, average_revises=True
    )
    method.averages = dict(method.networks())
    method.begin_step(0)
    method(_batch(), _noise())


def _one_energy(levels: LevelLaw) -> None:
    energy = NormalizedEnergy(MLPEnergy((3,), 3, width=8, depth=1, level_waves=30.0), width=8).double()
    parts = (ContinuousSchedule(), Langevin(2), ScoreMatching(), LevelScore(), RecoveryContrast())
    method = OneEnergy(energy, OwnProposal((3,), 3), *parts, levels=levels, fokker_planck=FokkerPlanck())
    method.begin_step(0)
    method(_batch(), _noise())


def _chains(along: str) -> None:
    energy, initializer = small_networks()
    schedule, generation, noise, x = (
        CosineSchedule(2),
        Generation(Langevin(0)),
        _noise("chains"),
        _batch().image,
    )
    if along == "ladder":
        x_top = noise.normal("eps", (3,))
        along_ladder(generation, Networks(energy, initializer, schedule), Langevin(2), x_top, LABEL, noise, 3)
        return
    transition = schedule.transition(torch.ones_like(LABEL), torch.float64)
    x_s, x_t = starts(x, transition, noise, from_noise=along == "from noise")
    at_level(generation, energy, Langevin(2), transition, x_s, x_t, LABEL, noise, 3)


def _exact() -> None:
    """A walk by chains with momenta, then more of them at level 0."""
    sampler, schedule = Hamiltonian(2, 2), CosineSchedule()
    networks, draw = Networks(*small_networks(), schedule), Draw(LABEL, _noise("sample"))
    generation = Generation(sampler)
    x_0 = list(generation.walk(networks, draw))[-1]
    generation.settle(networks, sampler, x_0, draw)


def _likelihoods() -> None:
    energy, noise, schedule = (
        NormalizedEnergy(MLPEnergy((3,), 3, 8, 1)).double(),
        _noise(),
        ContinuousSchedule(),
    )
    x = dequantized(_batch().image, 256, noise)
    by_evaluation(energy, schedule.logsnr_max, x, noise, draws=2)
    by_denoising(energy, schedule, x, noise, num_levels=4)


def _annealing() -> None:
    path = AnnealingPath(small_networks()[0], ContinuousSchedule(2), 2)
    sampler, noise = AdjustedLangevin(2), _noise()
    steps = tune(path, sampler, _batch().image, noise)
    list(anneal(path, sampler, steps, _batch().image, noise))


def _ancestral() -> None:
    path = AncestralPath(Networks(small_networks()[0], OwnProposal((3,), 3), ContinuousSchedule(2)), 2)
    sampler = Hamiltonian(1, 2)
    path.tune(_batch().image, _noise(), sampler)
    list(walk(path, sampler, _batch().image, _noise()))


PROCEDURES = {
    "known pixels, one noise": lambda: _walk(True),
    "known pixels, fresh noises": lambda: _walk(False),
    "ways between noises": lambda: _ways(False, False),
    "ways between images": lambda: _ways(True, False),
    "ways between images, one noise below": lambda: _ways(True, True),
    "a step of CDRL": lambda: _recovery(True),
    "a step of DRL": lambda: _recovery(False),
    "a step of one energy": lambda: _one_energy(LadderLevels()),
    "exact chains": _exact,
    "likelihoods": _likelihoods,
    "annealing": _annealing,
    "ways down and their pilot": _ancestral,
    "chains at a level": lambda: _chains("level"),
    "chains from noise": lambda: _chains("from noise"),
    "chains along the ladder": lambda: _chains("ladder"),
}


@pytest.mark.parametrize("name", PROCEDURES)
def test_a_procedure_takes_no_number_twice(given: Given, name: str) -> None:
    PROCEDURES[name]()
    assert len(given) > 20
    assert _twice(given) == []


def test_a_mixture_of_level_laws_takes_one_uniform_to_both(given: Given) -> None:
    """Which of them counts is told by another, and no other part of the step sees either."""
    _one_energy(MixedLevels())
    assert _twice(given) == [str((0, "train", 0, "level"))]


def _data() -> Iterator[Tensor]:
    for points in (Checkerboard(), GaussianMixture2D(), Rings()):
        yield points.open().rows(ROWS)[0]
    yield Shapes().open().rows(ROWS)[0]


def test_one_seed_for_everything_gives_no_number_twice(given: Given) -> None:
    """The data, a step on it, samples, masks, outliers, scores and metrics of seed 0."""
    before: set[object] = set()

    def done(alternatives: bool = False) -> None:
        """What was given out since the last call was so once, and never before."""
        assert _twice(given) == []
        assert alternatives or not before & set(given)
        before.update(given)
        given.clear()

    for _ in _data():  # sets of points are alternatives, which share what they draw
        done(alternatives=True)
    digits = Digits().open()
    stream = TrainingStream(digits, 6, 0, horizontal_flip=True, dequantize=True)
    next(stream.iterate(0, [range(6)]))
    done()
    for procedure in ("a step of CDRL", "known pixels, fresh noises", "chains at a level"):
        PROCEDURES[procedure]()
        done()
    named("random", 6, (1, 4, 4), 0)
    done()
    images = torch.linspace(-1, 1, 6 * 16).reshape(6, 1, 4, 4)
    chosen(digits, 6, 0)
    done()
    for name in MADE:
        make(name, images, 0)
        done()
    energy, initializer = small_networks()
    NoisyEnergyScore()(Networks(energy, initializer, CosineSchedule()), _batch().image, 0)
    done()
    half_samples(6, torch.arange(2))
    done()
    directions(3, 4)
    done()
    x = torch.linspace(0, 1, 24).reshape(12, 2).sin()
    for metric in (KID(2, 4), FID(extrapolate=True)):
        metric.compute(predictions=x, references=x.flip(0))
        done()
    assert len(before) > 500


def test_parts_of_a_key_dont_run_together() -> None:
    """A seed's last digit, a stream's name and a purpose each end where they end."""
    rows = torch.arange(2)
    keys = [
        (Noise(1, rows, stream="1"), "a"),
        (Noise(11, rows), "a"),
        (Noise(1, rows, stream="1/a"), ""),
        (Noise(1, rows, stream="1").child("a"), "b"),
        (Noise(1, rows, stream="1"), "a/b"),
        (Noise(-1, rows, stream="1"), "a"),
    ]
    drawn = {tuple(noise.uniform(purpose).tolist()) for noise, purpose in keys}
    assert len(drawn) == len(keys)
