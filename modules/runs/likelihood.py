"""Likelihoods of images by a run's energy, in the three ways of modules.analysis.likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from modules.analysis.likelihood import by_evaluation, logsnr_cleanest
from modules.core.checks import ConfigurationError, DataError, check_integer
from modules.core.noise import Noise
from modules.data.given import as_images
from modules.energies.normalized import NormalizedEnergy
from modules.runs.model import Model


def log_prob(
    model: Model,
    images: Any,
    label: int | Sequence[int] | Tensor | None = None,
    seed: int = 0,
    draws: int = 1,
    batch_size: int = 256,
    progress: bool = False,
) -> Tensor:
    """log p (n,) float64 in nats of images (n, *shape), on the CPU.

    It is that of the slightly noisy x_0 = √ᾱ x + σ̄ ε, a density in x_0; bits of whole grey values are those
    of images dequantized first (`modules.data.quantization.dequantized`): docs/likelihood.md.

    Args:
        images: floats in [-1, 1] or uint8, tensor or array; or pictures of Pillow.
        label: one class for all, or (n,) classes, -1 = none; None: none.
        seed, draws: of ε, over which log p is averaged. batch_size: images at once on a device.

    Raises:
        ConfigurationError: images or labels that don't fit, or an energy that doesn't know its constant.
    """
    energy = known(model)
    images = as_images(images, energy.shape)
    labels = model.labels(label, len(images))
    logsnr = logsnr_cleanest(model.schedule)

    def of(x: Tensor, noise: Noise, rows: Tensor) -> Tensor:
        given = None if labels is None else labels[rows].to(x.device)
        return -by_evaluation(energy, logsnr, x, noise, given, draws)

    return of_rows(model, images, of, seed, batch_size, progress)


def known(model: Model) -> NormalizedEnergy:
    """The model's energy, if it knows its constant.

    Raises:
        ConfigurationError: it doesn't.
    """
    if not isinstance(model.energy, NormalizedEnergy):
        raise ConfigurationError(
            f"a {type(model.energy).__name__} doesn't know its normalizing constant: --task likelihood "
            "--by annealing estimates it"
        )
    return model.energy


def of_rows(
    model: Model,
    images: Tensor,
    of: Callable[[Tensor, Noise, Tensor], Tensor],
    seed: int,
    batch_size: int,
    progress: bool = False,
) -> Tensor:
    """of(images, noise, their rows) (n,), float64 on the CPU; images are shared out among the processes.

    Raises:
        DataError: values that aren't finite.
    """
    check_integer("batch_size", batch_size, low=1)
    runtime = model.runtime
    mine = torch.arange(len(images))[runtime.rank :: runtime.num_processes]
    parts = [(mine[:0], torch.zeros(0, dtype=torch.float64))]
    bar = tqdm(total=len(mine), unit="img", disable=not (progress and runtime.is_main))
    for rows in mine.split(batch_size) if len(mine) else ():
        noise = Noise(seed, rows.to(runtime.device), stream="likelihood")
        with runtime.autocast():
            values = of(images[rows].to(runtime.device, noise.dtype), noise, rows)
        parts.append((rows, values.double().cpu()))
        bar.update(len(rows))
    bar.close()
    parts = runtime.gather_objects(parts)
    found = torch.cat([values for _, values in parts])[torch.cat([rows for rows, _ in parts]).argsort()]
    if lost := int((~found.isfinite()).sum()):
        raise DataError(f"{lost} of {len(found)} likelihoods are not finite: take another checkpoint")
    return found
