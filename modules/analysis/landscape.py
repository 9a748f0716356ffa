"""What a trained energy looks like: over the plane for points, along a line between two images (spec §11)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modules.core.tensors import expand_as
from modules.energies.base import Energy
from modules.guidance.base import Guidance
from modules.schedules.base import Schedule


@torch.no_grad()
def log_density(
    guidance: Guidance,
    energy: Energy,
    schedule: Schedule,
    level: int,
    x_s: Tensor,
    label: int = -1,
    batch_size: int = 4096,
) -> Tensor:
    """F_s(x_s) = -E(y_scale·x_s)/energy_scale, the unnormalized log marginal at level s (spec §11).

    Args:
        level: s, 0..T-1.
        x_s: (n, *shape). label: one class for all, -1 = none.
    Returns:
        (n,) float64 on the CPU.
    """
    found = []
    for part in x_s.split(batch_size):
        rows = torch.full((len(part),), level + 1, device=part.device)
        c = schedule.transition(rows, part.dtype)
        bound = guidance.energy(energy, c, torch.full_like(rows, label))
        values = -bound(expand_as(c.y_scale, part) * part) / c.energy_scale
        found.append(values.double().cpu())
    return torch.cat(found)


@dataclass(frozen=True)
class Plane:
    """F_s at the centres of r x r cells of [-extent, extent]²: row i is the second coordinate, upwards."""

    level: int
    extent: float
    values: Tensor  # (r, r) float64

    @property
    def energy(self) -> Tensor:
        """-F_s above its minimum, in nats."""
        return self.values.max() - self.values

    @property
    def density(self) -> Tensor:
        """e^{F_s} that integrates to 1 over the square; what lies outside of it is left out."""
        cell = (2 * self.extent / len(self.values)) ** 2
        return self.values.flatten().softmax(0).view_as(self.values) / cell


def lattice(extent: float, resolution: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Centres (r·r, 2) of the cells of [-extent, extent]², the first coordinate fastest."""
    side = (torch.arange(resolution, dtype=torch.float64) + 0.5) * (2 * extent / resolution) - extent
    up, across = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([across.flatten(), up.flatten()], 1).to(dtype)


def window(schedule: Schedule, level: int, radius: float) -> float:
    """Half the side of a square that holds x_s of data within `radius`: √ᾱ_s·radius + 2.5 σ̄_s."""
    c = schedule.transition(torch.tensor([level + 1]), torch.float64)
    return float(c.alpha_s) * radius + 2.5 * float(c.sigma_s)


def plane(
    guidance: Guidance,
    energy: Energy,
    schedule: Schedule,
    level: int,
    extent: float,
    resolution: int,
    device: torch.device,
    label: int = -1,
) -> Plane:
    """The landscape of a 2-D energy at one level."""
    points = lattice(extent, resolution).to(device)
    values = log_density(guidance, energy, schedule, level, points, label)
    return Plane(level, extent, values.view(resolution, resolution))


def line(
    guidance: Guidance,
    energy: Energy,
    schedule: Schedule,
    first: Tensor,
    second: Tensor,
    count: int,
    label: int = -1,
) -> tuple[Tensor, Tensor]:
    """Energies -F_s(√ᾱ_s x) along x = (1-u)·first + u·second, u = 0..1 in `count` steps, at every level.

    Returns:
        x (count, *shape) and energies (T, count) float64, level 0 first.
    """
    u = torch.linspace(0, 1, count, dtype=first.dtype, device=first.device)
    x = torch.lerp(first[None], second[None], u.view(-1, *([1] * first.ndim)))
    energies = []
    for level in range(schedule.num_levels):
        c = schedule.transition(torch.full((count,), level + 1, device=x.device), x.dtype)
        x_s = expand_as(c.alpha_s, x) * x
        energies.append(-log_density(guidance, energy, schedule, level, x_s, label))
    return x, torch.stack(energies)
