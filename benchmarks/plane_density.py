r"""A run's density in the plane against the exact one of its data, on a grid: Kullback-Leibler and integral.

    python -m benchmarks.plane_density --run runs/one_checkerboard --levels 9.8 5 2

The rings and the ring of Gaussians are trained by the checkerboard's recipe:

    python launch.py --gin gin/one_checkerboard.gin --output runs/one_rings \
        --set "Trainer.data=@Rings()" --set LevelScore.data_var=0.25
    python launch.py --gin gin/one_checkerboard.gin --output runs/one_mixture \
        --set "Trainer.data=@GaussianMixture2D()" --set LevelScore.data_var=0.29

At each level λ: KL(p_λ || q_λ) and KL(q_λ || p_λ) in nats, p the data's, q = exp(-U)/∫exp(-U), both as sums
over the grid, and ∫exp(-U) over the plane, 1 for a normalized density. --picture draws both at the first λ.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import command
from modules import runs
from modules.analysis.likelihood import logsnr_cleanest
from modules.core.checks import ConfigurationError, check_integer
from modules.data.points import Points
from modules.energies.normalized import NormalizedEnergy
from modules.report.curves import figure

_CHUNK = 65_536  # points of the grid at once


@dataclass(frozen=True)
class PlaneDensity:
    """Nats of both divergences, and the integral; log densities (n, n) of the data and the energy."""

    kl_from_data: float
    kl_to_data: float
    integral: float
    log_p: Tensor
    log_q: Tensor


@torch.no_grad()
def measure(
    energy: NormalizedEnergy, data: Points, logsnr: float, size: int, half_width: float
) -> PlaneDensity:
    """On the midpoints of size x size cells of [-half_width, half_width]²."""
    side = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1
    points = half_width * torch.cartesian_prod(side, side)
    at = torch.tensor(logsnr, dtype=torch.float64)
    log_p = data.log_density(points, float(at.sigmoid().sqrt()), float((-at).sigmoid().sqrt()))
    like, parts = energy.constant, []
    for chunk in points.split(_CHUNK):
        x = chunk.to(like)
        parts.append(-energy.potential(x, x.new_full((len(x),), logsnr)).double().cpu())
    log_q = torch.cat(parts)
    cell = (2 * half_width / size) ** 2
    integral = float(log_q.exp().sum() * cell)
    normalized = log_q - math.log(integral)
    p, q = log_p.exp() * cell, normalized.exp() * cell
    from_data = torch.where(p > 0, p * (log_p - normalized), 0.0).sum()
    to_data = torch.where(q > 0, q * (normalized - log_p), 0.0).sum()
    shape = (size, size)
    return PlaneDensity(float(from_data), float(to_data), integral, log_p.view(shape), log_q.view(shape))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--levels", type=float, nargs="+", help="λ; default: the schedule's cleanest")
    parser.add_argument("--size", type=int, default=800, help="cells a side")
    parser.add_argument("--picture", type=Path, help="a PNG of the exact density and the energy's")
    return command.run(_measure, parser.parse_args(words))


def _measure(arguments: argparse.Namespace) -> None:
    check_integer("--size", arguments.size, low=2)
    run = runs.load(arguments.run)
    data, energy = run.data, run.energy
    if not isinstance(data, Points) or not isinstance(energy, NormalizedEnergy):
        raise ConfigurationError("--run must be one energy of points in the plane, like one_checkerboard's")
    levels = arguments.levels or [logsnr_cleanest(run.schedule)]
    print("  lambda  KL(p||q)  KL(q||p)  integral")
    for k, logsnr in enumerate(levels):
        sigma = (1 + math.exp(logsnr)) ** -0.5
        half_width = 1.2 * (1 - sigma**2) ** 0.5 + 5 * sigma  # points lie within [-1.2, 1.2]²
        found = measure(energy, data, logsnr, arguments.size, half_width)
        print(f"{logsnr:8.2f}  {found.kl_from_data:8.4f}  {found.kl_to_data:8.4f}  {found.integral:8.4f}")
        if k == 0 and arguments.picture:
            _draw(found, half_width, arguments.picture)


def _draw(found: PlaneDensity, half_width: float, path: Path) -> None:
    drawn, panels = figure(1, 2, 8.8, 4.4)
    extent, top = (-half_width, half_width) * 2, float(found.log_p.exp().max())
    for axes, density, title in zip(
        panels[0], (found.log_p, found.log_q), ("exact", "the energy's"), strict=True
    ):
        axes.imshow(
            density.exp().T.numpy(), origin="lower", extent=extent, vmin=0, vmax=1.2 * top, cmap="viridis"
        )
        axes.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
