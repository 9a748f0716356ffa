"""Metrics are given what they take, or say so: a wrong kind of numbers has no value."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modules.core.checks import DataError
from modules.evaluation.references import published
from modules.features.digits import DigitsClassifier
from modules.features.module import ModuleFeatures
from modules.features.pixels import RawPixels
from modules.metrics.class_accuracy import ClassAccuracy
from modules.metrics.detection import Detection
from modules.metrics.fid import FID, frechet_distance
from modules.metrics.grid_kl import GridKL
from modules.metrics.inception_score import InceptionScore
from modules.metrics.kid import KID
from modules.metrics.recognised import Recognised
from modules.metrics.stores import Moments

LOGITS = torch.tensor([[2.0, -1.0], [0.5, 0.5]])
FEATURES = torch.linspace(0, 1, 20).reshape(10, 2)
MEANINGS = {
    "logits for probabilities": (InceptionScore(), {"predictions": LOGITS}, "logits.softmax"),
    "logits for sureness": (Recognised(), {"predictions": LOGITS}, "logits.softmax"),
    "percent": (InceptionScore(), {"predictions": torch.tensor([[90.0, 10.0]])}, "1 in sum"),
    "images for features": (FID(), {"predictions": torch.zeros(4, 3, 2, 2)}, r"features \(n, d\), floats"),
    "bytes for features": (KID(), {"references": torch.zeros(4, 3).byte()}, "got uint8"),
    "classes between classes": (
        ClassAccuracy(), {"predictions": LOGITS, "references": torch.tensor([0, 1.9])}, "whole numbers"
    ),
    "truth that is none": (
        Detection(), {"predictions": torch.ones(2), "references": torch.tensor([0, torch.nan])}, "not finite"
    ),
    "a density of NaN": (
        GridKL(), {"predictions": torch.zeros(2), "references": torch.tensor([0, torch.nan])}, "not finite"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MEANINGS)
def test_another_meaning_is_refused(what):
    metric, given, expected = MEANINGS[what]
    with pytest.raises(DataError, match=expected):
        metric.add_batch(**given)


def test_probabilities_are_at_least_zero_and_one_in_sum():
    metric = InceptionScore(1)
    metric.add_batch(predictions=LOGITS.softmax(1).bfloat16().float())
    assert metric.compute()["is"] > 1


SIGMAS = {
    "negative definite": (-np.eye(3), "its variance is negative"),
    "indefinite": (np.diag([1.0, 1.0, -0.1]), "its variance is negative"),
    "correlations beyond 1": (np.array([[1, 2, 0], [2, 1, 0], [0, 0, 1.0]]), "its variance is negative"),
    "not symmetric": (np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]), "isn't symmetric"),
    "not a number": (np.diag([1.0, np.nan, 1.0]), "sigma holds values that are not finite"),
    "complex": (np.eye(3) * 1j, "complex"),
    "a vector": (np.ones(3), "must be"),
}


@pytest.mark.parametrize("what", SIGMAS)
def test_statistics_that_cannot_be_are_refused(what, tmp_path):
    sigma, expected = SIGMAS[what]
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(3), sigma=sigma)
    with pytest.raises(DataError, match=expected) as caught:
        published(tmp_path / "statistics.npz")
    assert str(caught.value).startswith(f"{tmp_path / 'statistics.npz'}: ")
    with pytest.raises(DataError, match=expected):
        Moments.of(torch.zeros(3), torch.from_numpy(sigma))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_symmetry_is_asked_for_at_any_scale(scale):
    """To 1e-5 of the largest entry: rounding passes, a hundredth doesn't."""
    for asymmetry, refused in ((1e-6, False), (1e-2, True)):
        sigma = scale * torch.tensor([[1.0, 0.2 + asymmetry], [0.2, 1.0]]).double()
        if refused:
            with pytest.raises(DataError, match="isn't symmetric"):
                Moments.of(torch.zeros(2), sigma)
        else:
            assert Moments.of(torch.zeros(2), sigma).count == 2


def test_covariances_of_few_samples_and_of_rounding_are_covariances(tmp_path):
    """Of 4 samples in 64 dimensions 61 variances are 0, and float32 makes some of them negative."""
    x = np.random.default_rng(0).normal(size=(4, 64))
    sigma = np.cov(x, rowvar=False).astype(np.float32)
    assert np.linalg.eigvalsh(sigma.astype(float)).min() < 0
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(64), sigma=sigma)
    assert float(published(tmp_path / "statistics.npz").covariance.trace()) == pytest.approx(np.trace(sigma))


def test_the_distance_itself_takes_covariances_alone():
    mean, identity = torch.zeros(2), torch.eye(2)
    for wrong in (-identity, identity * torch.nan):
        with pytest.raises(DataError, match="needs covariances"):
            frechet_distance(mean, wrong, mean, identity)


def test_features_are_of_bytes():
    floats = torch.zeros(2, 1, 8, 8)
    opened = [
        DigitsClassifier().open((1, 8, 8), torch.device("cpu")),
        RawPixels().open((1, 8, 8), torch.device("cpu")),
        ModuleFeatures("torch.nn.Flatten", mean=(0.5,), std=(0.5,)).open((1, 8, 8), torch.device("cpu")),
    ]
    for features in opened:
        with pytest.raises(DataError, match="features are those of uint8 images, got float32"):
            features.extract(floats)
        assert len(features.extract(floats.byte()).features) == 2
    assert RawPixels().open((2,), torch.device("cpu")).extract(FEATURES).features.shape == (10, 2)
