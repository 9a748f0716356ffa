"""What metrics, extractors and scores keep; the tables' completeness: test_contracts.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from modules.energies.mlp import MLPEnergy
from modules.features.base import Extractor
from modules.features.digits import DigitsClassifier
from modules.features.inception_v3 import InceptionV3
from modules.features.module import ModuleFeatures
from modules.features.pixels import RawPixels
from modules.initializers.mlp import MLPInitializer
from modules.methods.networks import Networks
from modules.metrics.base import PairMetric
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
from modules.schedules.cosine import CosineSchedule
from modules.scores.base import Score
from modules.scores.denoising import DenoisingScore
from modules.scores.energy import EnergyScore, GradientNormScore, NoisyEnergyScore
from modules.scores.likelihood import LikelihoodScore, TypicalityScore
from tests.contracts import each, noise, normalized, points, small_networks
from tests.random_inception import random_inception

torch.set_num_threads(1)

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
SCORES[TypicalityScore] = lambda: TypicalityScore(entropy=1.0)


@pytest.fixture
def networks() -> tuple[MLPEnergy, MLPInitializer]:
    """See small_networks."""
    return small_networks()


@each(SCORES)
def test_score(kind: type, networks, same_generator) -> None:
    """A number an image, the same wherever it stands, without gradients of parameters."""
    score, (energy, initializer) = SCORES[kind](), networks
    energy = normalized(energy)
    x, schedule = points(), CosineSchedule()
    score.check(Networks(energy, initializer, schedule))
    values = score(Networks(energy, initializer, schedule), x)
    assert values.shape == (6,) and values.dtype == torch.float64 and not values.requires_grad
    assert torch.equal(score(Networks(energy, initializer, schedule), x), values)
    rows = torch.tensor([4, 1])
    torch.testing.assert_close(score(Networks(energy, initializer, schedule), x[rows]), values[rows])


@each(METRICS)
def test_metric(kind: type, same_generator) -> None:
    """One value for one set of samples, whatever the batches; afterwards all is forgotten."""
    metric, indices = kind(), torch.arange(40)
    here, there = (METRICS[kind](noise(indices).normal(side, (4,))) for side in ("here", "there"))
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


@each(EXTRACTORS)
def test_extractor(kind: type, same_generator, tmp_path, monkeypatch) -> None:
    """Rows of float32 that don't know each other, and what they were made by."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    extractor, shape = EXTRACTORS[kind](tmp_path)
    x = noise(torch.arange(3)).normal("x", shape)
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
