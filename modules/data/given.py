"""Images and labels that users hand in: checked for what their numbers mean, not for their shape alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, in_short
from modules.data.quantization import to_unit_range

FURTHEST = 2.0
"""Images in [-1, 1] stay within ±this: samples and dequantized pixels pass 1 a little, 0..255 a lot."""


def as_images(given: Any, shape: tuple[int, ...], name: str = "images") -> Tensor:
    """Images (n, *shape), floats in [-1, 1]; or points.

    Args:
        given: a tensor or array (n, *shape) of uint8, 0..255, or of floats in [-1, 1], as samples are; or a
            picture of Pillow or several, which are brought to the shape as those of a data set are.
        shape: (c, h, w) of an image, or (d,) of a point.

    Raises:
        ConfigurationError: another shape or kind of numbers; values that aren't finite, or no image's.
    """
    pictures = _pictures(given)
    x = _fitted(pictures, shape, name) if pictures else _tensor(given, name)
    if tuple(x.shape[1:]) != tuple(shape) or x.ndim == 0:
        wanted, got = (", ".join(map(str, part)) for part in (shape, x.shape))
        raise ConfigurationError(f"{name} must be (n, {wanted}), the model's shape, got ({got})")
    if x.dtype == torch.uint8 and len(shape) == 3:
        return to_unit_range(x)
    if not x.is_floating_point():
        raise ConfigurationError(
            f"{name} must be floats in [-1, 1], or uint8 in 0..255, got {str(x.dtype).removeprefix('torch.')}"
        )
    if not x.isfinite().all():
        raise ConfigurationError(f"{name} hold values that are not finite")
    check_range(name, x, shape)
    return x


def check_range(name: str, x: Tensor, shape: Sequence[int]) -> None:
    """Raise where floats (n, *shape) are no images in [-1, 1]; points may lie anywhere."""
    if len(shape) != 3 or not x.numel() or not x.is_floating_point():
        return
    low, high = (float(value) for value in x.aminmax())
    if max(-low, high) > FURTHEST:
        raise ConfigurationError(
            f"{name} must be in [-1, 1], got values in {low:g}..{high:g}: of 0..255 give uint8 or x/127.5 - 1"
        )


def as_labels(given: Any, name: str = "label") -> Tensor:
    """Class ids, int64 of the shape they are given in; whole numbers of an integer type alone.

    Raises:
        ConfigurationError: anything else, such as 1.9, which would become 1.
    """
    try:
        labels = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigurationError(f"{name} must be whole numbers of classes, got {in_short(given)}") from None
    if labels.numel() and (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool):
        kind = str(labels.dtype).removeprefix("torch.")
        got = f"{kind} numbers" if isinstance(given, Tensor) else in_short(given)
        raise ConfigurationError(f"{name} must be whole numbers of classes, got {got}")
    return labels.to(torch.int64)


def _pictures(given: Any) -> list[Any]:
    """Pictures of Pillow among what is given, if it is one or a sequence of them."""
    from PIL.Image import Image

    if isinstance(given, Image):
        return [given]
    several = isinstance(given, (list, tuple)) and len(given) > 0
    return list(given) if several and all(isinstance(item, Image) for item in given) else []


def _fitted(pictures: list[Any], shape: tuple[int, ...], name: str) -> Tensor:
    from modules.data.images import MODES, fit_image

    if len(shape) != 3 or shape[0] not in MODES:
        raise ConfigurationError(f"{name}: pictures cannot become samples of shape {tuple(shape)}")
    return torch.stack([fit_image(picture, shape) for picture in pictures])


def _tensor(given: Any, name: str) -> Tensor:
    if isinstance(given, (Tensor, np.ndarray)):
        try:
            return torch.as_tensor(given)
        except TypeError as fault:  # objects, texts, unsigned numbers of more bits
            raise ConfigurationError(f"{name}: {str(fault).splitlines()[0]}") from fault
    raise ConfigurationError(f"{name} must be a tensor, an array or pictures, got {in_short(given)}")
