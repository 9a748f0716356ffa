"""How different images look to a network: LPIPS's form (Zhang et al. 2018) without its learned weights."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import torch
from torch import Tensor

from modules.core.checks import DataError
from modules.features.base import Features
from modules.metrics.base import PairMetric
from modules.metrics.stores import Store, Sums


def embedded(maps: Sequence[Tensor]) -> Tensor:
    """Vectors (n, d) whose squared distance is Σ_l mean over places of ||û_l - v̂_l||², û = u/||u||.

    Norms are over channels, at each place of each layer's map.

    Args:
        maps: of layers, (n, c, h, w) or (n, c) each.
    """
    parts = []
    for given in maps:
        x = given.flatten(2) if given.ndim > 2 else given[..., None]
        unit = x / (x.norm(dim=1, keepdim=True) + 1e-10)
        parts.append((unit / unit.shape[2] ** 0.5).flatten(1))
    return torch.cat(parts, 1)


def look_apart(one: Tensor, other: Tensor) -> Tensor:
    """Squared distances (n,) of embedded images (n, d), in float64."""
    return (one.double() - other.double()).square().sum(1)


def perceptual_figures(
    completions: Tensor, truth: Tensor, features: Features, device: torch.device
) -> dict[str, Tensor]:
    """How different completions look from the truth, and from each other; whole images.

    Args:
        completions: (b, k, *shape); truth: (b, *shape); of 8 bits.
        features: of an extractor that has `maps`.

    Returns:
        (b,) each: perceptual, the mean distance to the truth; perceptual_diversity, the mean over pairs of
        completions (k = 1: not a number).
    """
    assert features.maps is not None
    to_truth, apart = [], []
    for image, others in zip(truth, completions, strict=True):
        x = embedded(features.maps(torch.cat([image[None], others]).to(device))).cpu()
        first, second = torch.combinations(torch.arange(1, len(x))).unbind(1)
        to_truth.append(look_apart(x[1:], x[:1]).mean())
        apart.append(look_apart(x[first], x[second]).mean())
    return {"perceptual": torch.stack(to_truth), "perceptual_diversity": torch.stack(apart)}


@gin.register
class PerceptualDistance(PairMetric):
    """The mean distance of pairs of images in the layers of a network: `perceptual`.

    predictions and references are (n, d), `embedded` from an extractor's `maps`. It has LPIPS's form without
    the weights that were fitted to what people see, so it isn't LPIPS, and is compared only by one network.
    """

    label, takes = "perceptual", "own"

    def make_store(self) -> Store:
        return Sums()

    def summary(self, x: Tensor, reference: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape != reference.shape:
            raise DataError(
                f"perceptual takes embedded images (n, d) in pairs, got {tuple(x.shape)} and "
                f"{tuple(reference.shape)}"
            )
        return look_apart(x, reference)

    def figures(self) -> dict[str, float]:
        assert isinstance(self.pairs, Sums)
        if not self.pairs.count:
            raise DataError("perceptual was given no pairs")
        return {"perceptual": float(self.pairs.total) / self.pairs.count}
