"""The values of torchmetrics, on the same features."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from modules.metrics.fid import FID
from modules.metrics.inception_score import InceptionScore
from modules.metrics.kid import KID

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchmetrics") is None, reason="torchmetrics isn't installed"
)
torch.set_num_threads(1)


class Given(nn.Module):
    """What is passed for images are the features."""

    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x


def _normal(n: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return shift + torch.randn(n, 6, generator=generator, dtype=torch.float64)


def test_the_frechet_distance():
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    here, there = _normal(300, 0), _normal(400, 1, 0.3)
    theirs.update(there, real=True)
    theirs.update(here, real=False)
    ours = FID().compute(predictions=here, references=there)["fid"]
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_the_kernel_distance():
    from torchmetrics.image.kid import KernelInceptionDistance

    theirs = KernelInceptionDistance(feature=Given(), subsets=1, subset_size=200)
    here, there = _normal(200, 0), _normal(200, 1, 0.3)
    theirs.update(there, real=True)
    theirs.update(here, real=False)
    mean, _ = theirs.compute()
    assert KID().compute(predictions=here, references=there)["kid"] == pytest.approx(float(mean), rel=1e-6)


def test_the_inception_score():
    from torchmetrics.image.inception import InceptionScore as Theirs

    logits = 2 * _normal(300, 0)
    theirs = Theirs(feature=Given(), splits=1)
    theirs.update(logits)
    mean, _ = theirs.compute()
    ours = InceptionScore(1).compute(predictions=logits.softmax(1))["is"]
    assert ours == pytest.approx(float(mean), rel=1e-6)
