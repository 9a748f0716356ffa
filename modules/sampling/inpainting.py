"""Images of which a part is known: the known pixels' way through the levels (spec §8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gin
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_bool
from modules.core.types import NoiseSource
from modules.data.given import as_images
from modules.schedules.base import Schedule
from modules.schedules.forward import marginal


@dataclass(frozen=True)
class Known:
    """What is given of b samples: `image` (b, *shape), to be kept where `mask` (b, *shape, bool) is True."""

    image: Tensor
    mask: Tensor

    def take(self, rows: Tensor | slice) -> Known:
        """Of some of the samples."""
        return Known(self.image[rows], self.mask[rows])

    def to(self, device: torch.device) -> Known:
        """On a device."""
        return Known(self.image.to(device), self.mask.to(device))

    def keep(self, values: Tensor, x: Tensor) -> Tensor:
        """`values` where known, x elsewhere."""
        return torch.where(self.mask, values, x)


def check_known(image: Any, mask: Any, shape: tuple[int, ...]) -> Known:
    """Images and a mask in any form that fits them.

    Args:
        image: (b, *shape) in the data's range, or as data.given.as_images takes it.
        mask: a tensor or array, 1 = known, 0 = to be found; bool or numbers; (h, w), *shape or (b, *shape),
            broadcast.
        shape: of one sample.

    Raises:
        ConfigurationError: a size that doesn't fit, an image out of range, or a mask with other values.
    """
    image, mask = as_images(image, shape), torch.as_tensor(mask)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ConfigurationError("a mask must hold 1 (known) and 0 (to be found) alone")
    try:
        full = torch.broadcast_to(mask.bool(), image.shape)
    except RuntimeError:
        raise ConfigurationError(
            f"a mask of size {_of(mask)} doesn't fit images of size {_of(image)}: give ({_list(shape[-2:])})"
        ) from None
    return Known(image, full)


@gin.register
class Inpainting:
    """Known pixels follow a forward path of the given image (spec §8).

    Args:
        shared_noise: one ε for all levels, as models are used to that were trained so; or a path built
            upward from x_0 with fresh noises.
    """

    def __init__(self, shared_noise: bool = True) -> None:
        check_bool("Inpainting.shared_noise", shared_noise)
        self.shared_noise = shared_noise

    def path(self, image: Tensor, schedule: Schedule, noise: NoiseSource) -> list[Tensor]:
        """x_0, x_1, ..., x_T of images (b, ...), by a stream of noise of their own."""
        noise, shape = noise.child("known"), tuple(image.shape[1:])
        ones = torch.ones(len(image), dtype=torch.int64, device=image.device)
        first = schedule.transition(ones, image.dtype)
        eps = noise.normal("eps", shape)
        levels = [marginal(image, first.alpha_s, first.sigma_s, eps)]
        for t in range(1, schedule.num_levels + 1):
            c = schedule.transition(t * ones, image.dtype)
            if self.shared_noise:
                levels.append(marginal(image, c.alpha_t, c.sigma_t, eps))
            else:
                step = noise.normal("eps_step", shape, draw=t)
                levels.append(marginal(levels[-1], c.alpha_ts, c.sigma_ts, step))
        return levels


def figures(completions: Tensor, known: Known) -> dict[str, Tensor]:
    """How near completions are to the truth, and how far from each other, over the unknown part.

    Args:
        completions: (b, k, *shape).
        known: of the b images; `image` is the truth.

    Returns:
        (b,) each, in the data's unit but for psnr; not a number where all is known:
        rmse, root-mean-square error over pixels and completions; psnr = 20 log10(2/rmse) in dB (data in
        [-1, 1]); rmse_of_mean, of the mean completion; diversity, the mean over pairs of completions of
        their root-mean-square distance (k = 1: not a number).
    """
    b, k = completions.shape[:2]
    x, truth = completions.reshape(b, k, -1).double(), known.image.reshape(b, 1, -1).double()
    unknown = (~known.mask).reshape(b, 1, -1).double()
    count = unknown.sum(2)

    def distance(difference: Tensor) -> Tensor:
        return ((difference.square() * unknown).sum(2) / count).sqrt()

    rmse = distance(x - truth).square().mean(1).sqrt()
    pairs = [distance(x[:, i + 1 :] - x[:, i : i + 1]) for i in range(k - 1)]
    nothing = torch.full((b,), torch.nan, dtype=torch.float64)
    return {
        "rmse": rmse,
        "psnr": 20 * torch.log10(2 / rmse),
        "rmse_of_mean": distance(x.mean(1, keepdim=True) - truth)[:, 0],
        "diversity": torch.cat(pairs, 1).mean(1) if pairs else nothing,
    }


def _of(x: Tensor) -> str:
    return f"({_list(tuple(x.shape))})"


def _list(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
