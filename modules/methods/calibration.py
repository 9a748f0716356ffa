"""Setting a normalized energy right on the data, when it is saved (spec §13)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.core.noise import Noise
from modules.core.types import NoiseSource
from modules.energies.normalized import NormalizedEnergy
from modules.losses.score import level_target, level_variance
from modules.schedules.forward import marginal
from modules.schedules.score import ScoreSchedule

_ROWS = 512  # at once


@torch.no_grad()
def calibrate(
    energy: NormalizedEnergy, images: Tensor, labels: Tensor, schedule: ScoreSchedule, noise: Noise
) -> None:
    """c's shift, which makes ∂U/∂λ right on average over the data at every level, then C.

    Args:
        images: (n, *shape), as training sees them. labels: (n,) int64, -1 = none. noise: of n rows.
    """
    energy.shift.zero_()
    low, high = schedule.logsnr_min, schedule.logsnr_max
    found = level_shift(energy, images, labels, low, high, noise.child("levels"))
    energy.shift.copy_(found.to(energy.shift))
    energy.calibrate(images, labels, low, noise)


def level_shift(
    energy: NormalizedEnergy, images: Tensor, labels: Tensor, low: float, high: float, noise: NoiseSource
) -> Tensor:
    """The weights (width,) of c's features that take away the mean of ∂U/∂λ - τ at every λ in [low, high].

    The level score's minimum over c given E is a mean over the data, from which steps of small batches stay
    nats away in the integral over λ. Here it is solved for at once: least squares of τ - ∂U/∂λ in the
    features' slopes, weighed by τ's variance. τ has mean 0 over the noise whatever E is, so that multiples of
    it may stand beside the features: they take its noise out. One sample in two is without its label, where
    there are labels.
    """
    logsnr = low + (high - low) * noise.uniform("level")
    eps = noise.normal("eps", energy.shape)
    rows, wanted = [], []
    hidden = torch.where(noise.uniform("hidden") < 0.5, -1, labels)
    for part in torch.arange(len(images), device=images.device).split(_ROWS):
        at, x, given = logsnr[part], images[part], hidden[part] if energy.num_classes else None
        noisy = marginal(x, torch.sigmoid(at).sqrt(), torch.sigmoid(-at).sqrt(), eps[part])
        slope = energy.level_slope(energy.slopes(noisy, at, given), at, given)
        square, cross = level_target(x, eps[part], at)
        powers = (at / high)[:, None] ** torch.arange(3, device=at.device)
        noises = [square[:, None] * powers, cross[:, None] * powers]
        weight = (level_variance(x[0].numel(), float(images.square().mean()), at) + 0.1).rsqrt()
        columns = torch.cat([energy.level_features(at, given)[1], *noises], 1)
        rows.append((weight[:, None] * columns).double())
        wanted.append((weight * (square + cross - slope)).double())
    design, target = torch.cat(rows).cpu(), torch.cat(wanted).cpu()
    width = energy.shift.numel()
    # CPUs alone know this driver, which needs no full rank
    return torch.linalg.lstsq(design, target[:, None], rcond=1e-6, driver="gelsd").solution[:width, 0]
