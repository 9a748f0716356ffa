"""Perceptual distances by hand, by the reference's own formula, and on digits."""

from __future__ import annotations

import pytest
import torch

from benchmarks.judge_digits import real_digits
from modules.core.checks import DataError
from modules.data.quantization import to_bytes
from modules.features.digits import DigitsClassifier
from modules.features.module import ModuleFeatures
from modules.metrics.perceptual import PerceptualDistance, embedded, look_apart, perceptual_figures

torch.set_num_threads(1)
CPU = torch.device("cpu")


def test_two_maps_by_hand():
    """One place: unit vectors at an angle of 90 degrees are 2 apart, opposite ones 4, whatever their norm."""
    here = [torch.tensor([[[[3.0, 1.0]], [[0.0, 0.0]]]]), torch.tensor([[1.0, 0.0]])]  # (1, 2, 1, 2), (1, 2)
    there = [torch.tensor([[[[0.0, 5.0]], [[7.0, 0.0]]]]), torch.tensor([[-2.0, 0.0]])]
    assert float(look_apart(embedded(here), embedded(there))) == pytest.approx((2 + 0) / 2 + 4)
    assert float(look_apart(embedded(here), embedded([3 * m for m in here]))) == pytest.approx(0, abs=1e-10)
    nothing = [torch.zeros(1, 3, 2, 2)]
    assert float(look_apart(embedded(nothing), embedded(nothing))) == 0


def test_it_is_the_sum_over_layers_of_the_mean_over_places():
    """As LPIPS without its weights is written down."""
    g = torch.Generator().manual_seed(0)
    shapes = ((4, 5, 5), (6, 3, 2))
    a, b = ([torch.randn(3, *s, generator=g) for s in shapes] for _ in range(2))
    exact = torch.zeros(3)
    for u, v in zip(a, b, strict=True):
        u, v = (m / m.square().sum(1, keepdim=True).sqrt() for m in (u, v))
        exact += (u - v).square().sum(1).mean((1, 2))
    torch.testing.assert_close(look_apart(embedded(a), embedded(b)), exact.double(), rtol=1e-5, atol=1e-6)
    metric = PerceptualDistance()
    metric.add_batch(predictions=embedded(a), references=embedded(b))
    assert metric.compute()["perceptual"] == pytest.approx(float(exact.mean()), rel=1e-5)
    with pytest.raises(DataError, match=r"in pairs, got \(3, 2\) and \(3, 3\)"):
        metric.add_batch(predictions=torch.ones(3, 2), references=torch.ones(3, 3))


def test_digits_of_one_class_look_more_alike():
    """And a digit shifted by a pixel is nearer to itself than to others, which pixels would not say."""
    images, labels = (x[:200] for x in real_digits("held_out"))
    features = DigitsClassifier().open((1, 8, 8), CPU)
    z = embedded(features.maps(to_bytes(images)))
    i, j = torch.combinations(torch.arange(len(z))).unbind(1)
    apart, same = look_apart(z[i], z[j]), labels[i] == labels[j]
    assert float(apart[same].mean()) < 0.75 * float(apart[~same].mean())
    shifted = images.roll(1, 3)
    moved = look_apart(embedded(features.maps(to_bytes(shifted))), z)
    pixels = (shifted - images).square().mean((1, 2, 3))
    others = (images[i] - images[j]).square().mean((1, 2, 3))
    assert float(moved.mean()) / float(apart.mean()) < float(pixels.mean()) / float(others.mean())


def test_figures_of_completions():
    images = to_bytes(real_digits("held_out")[0][:6]).unflatten(0, (2, 3))  # two truths, two completions each
    features = DigitsClassifier().open((1, 8, 8), CPU)
    found = perceptual_figures(images[:, 1:], images[:, 0], features, CPU)
    z = embedded(features.maps(images.flatten(0, 1))).unflatten(0, (2, 3))
    for i in range(2):
        one, other = look_apart(z[i, 1:], z[i, :1])
        assert float(found["perceptual"][i]) == pytest.approx(float(one + other) / 2)
        assert float(found["perceptual_diversity"][i]) == pytest.approx(
            float(look_apart(z[i, 1:2], z[i, 2:]))
        )
    same = perceptual_figures(images[:, :1], images[:, 0], features, CPU)
    assert same["perceptual"].tolist() == [0, 0] and same["perceptual_diversity"].isnan().all()


def test_any_module_by_the_names_of_its_layers():
    extractor = ModuleFeatures(
        "tests.small_classifier.SmallClassifier", layers=("body", "head"), mean=(0.5, 0.5), std=(0.5, 0.5)
    )
    features = extractor.open((2, 4, 4), CPU)
    x = torch.arange(64, dtype=torch.uint8).reshape(2, 2, 4, 4)
    body, head = features.maps(x)
    assert body.shape == (2, 2, 4, 4) and torch.equal(head, features.extract(x).features)
