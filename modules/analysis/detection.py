"""Outliers told from inliers by a score: its values over a set, and how well it separates two (spec §12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from modules.contracts.faults import calling, check_tensor
from modules.core.checks import ConfigurationError, DataError
from modules.core.noise import Noise
from modules.data.base import Examples
from modules.data.quantization import to_bytes, to_unit_range
from modules.methods.networks import Networks
from modules.metrics.detection import Detection
from modules.runtime.runtime import Runtime
from modules.scores.base import Score


def separation(inliers: Tensor, outliers: Tensor) -> dict[str, float]:
    """`auroc`, `aupr` (average precision) and `fpr95` of scores (n,) and (m,), larger = more outlying.

    See modules.metrics.detection.
    """
    truth = torch.cat([torch.zeros(len(inliers)), torch.ones(len(outliers))])
    return Detection().compute(predictions=torch.cat([inliers, outliers]), references=truth)


def chosen(examples: Examples, num: int, seed: int) -> Tensor:
    """Indices (min(num, len),) of examples in a random order of their own."""
    rows = torch.arange(len(examples))
    return Noise(seed, rows, stream="detect", dtype=torch.float64).uniform("order").argsort()[:num]


def uniform(images: Tensor, noise: Noise) -> Tensor:
    """Pixels uniform in [-1, 1]."""
    return 2 * noise.uniform("uniform", tuple(images.shape[1:])) - 1


def gaussian(images: Tensor, noise: Noise) -> Tensor:
    """Independent normal pixels of the images' own mean and variance."""
    return images.mean() + images.std() * noise.normal("gaussian", tuple(images.shape[1:]))


def inverted(images: Tensor, noise: Noise) -> Tensor:
    """-x: dark is light."""
    return -images


def interpolated(images: Tensor, noise: Noise) -> Tensor:
    """The mean of each image and of another one."""
    others = torch.arange(len(images)) + noise.integers("other", 1, max(2, len(images)))
    return 0.5 * (images + images[others % len(images)])


def constant(images: Tensor, noise: Noise) -> Tensor:
    """One grey for all pixels of an image, uniform in [-1, 1]."""
    return (2 * noise.uniform("grey", (1,) * (images.ndim - 1)) - 1).expand_as(images)


def shuffled(images: Tensor, noise: Noise) -> Tensor:
    """Each image's own values in a random order."""
    flat = images.flatten(1)
    return flat.gather(1, noise.uniform("places", tuple(flat.shape[1:])).argsort(1)).view_as(images)


def shifted(images: Tensor, noise: Noise) -> Tensor:
    """Moved by two pixels left, right, up or down; what comes in is what was at the edge."""
    if images.ndim != 4:
        raise ConfigurationError(f"only images can be shifted, not points of shape {tuple(images.shape[1:])}")
    wide = pad(images, (2, 2, 2, 2), mode="replicate")
    height, width = images.shape[2:]
    places = ((2, 0), (2, 4), (0, 2), (4, 2))
    moved = torch.stack([wide[..., y : y + height, x : x + width] for y, x in places], 1)
    return moved[torch.arange(len(images)), noise.integers("direction", 0, 4)]


MADE: dict[str, Callable[[Tensor, Noise], Tensor]] = {
    made.__name__: made for made in (uniform, gaussian, inverted, interpolated, constant, shuffled, shifted)
}
"""Outliers made from inliers (n, *shape): name -> function."""


def make(name: str, images: Tensor, seed: int) -> Tensor:
    """Outliers of `MADE` from inliers (n, *shape), images in 8 bits as they are.

    Rounding alone must not tell the two apart, so that points, which were never rounded, stay as made.
    """
    made = MADE[name](images, Noise(seed, torch.arange(len(images)), stream="detect"))
    return to_unit_range(to_bytes(made)) if images.ndim == 4 else made


def by_way_of(images: Tensor, size: int) -> Tensor:
    """Images (n, c, h, w) brought to size x size and back, then to 8 bits: an equal blur for every set."""
    if images.ndim != 4:
        raise ConfigurationError(f"only images can be resized, not points of shape {tuple(images.shape[1:])}")
    small = interpolate(images, (size, size), mode="bicubic", antialias=True)
    back = interpolate(small, images.shape[2:], mode="bicubic", antialias=True)
    return to_unit_range(to_bytes(back))


def fit(score: Score, networks: Networks, images: Tensor, runtime: Runtime, seed: int = 0) -> None:
    """Let a score learn what is usual from images (n, *shape) of the run's data."""
    with runtime.autocast():
        score.fit(networks, images.to(runtime.device), seed)


def scores(
    score: Score, networks: Networks, images: Tensor, runtime: Runtime, batch_size: int = 256, seed: int = 0
) -> Iterator[Tensor]:
    """The scores of images (n, *shape), batch after batch, float64 on the CPU.

    Raises:
        DataError: a score that isn't finite. ConfigurationError: one that isn't (n,), or a class that fails.
    """
    for part in images.split(batch_size):
        with runtime.autocast(), calling():
            values = score(networks, part.to(runtime.device), seed)
        check_tensor(f"{type(score).__name__}.__call__", values, (len(part),))
        if not bool(values.isfinite().all()):
            raise DataError(f"{type(score).__name__} gave a number that is not finite")
        yield values.double().cpu()
