"""Parallel tempering: chains at several levels at once that exchange their states (spec §10)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modules.core.checks import check_integer
from modules.core.tensors import expand_as
from modules.core.types import NoiseSource, Potential


@dataclass(frozen=True)
class Exchanged:
    """What a round of swaps leaves.

    y: (L·n, ...), the states, of which row l·n + i is chain i's at level l. taken: (L-1, n), whether levels l
    and l + 1 of chain i have swapped; False too where they didn't ask. came_from: (L·n,) int64, the row where
    each state was before.
    """

    y: Tensor
    taken: Tensor
    came_from: Tensor


@torch.no_grad()
def exchange(
    potential: Potential, y: Tensor, scale: Tensor, num_levels: int, odd: bool, noise: NoiseSource
) -> Exchanged:
    """Neighbouring levels ask to swap their states: 0 with 1, 2 with 3, ..., or (`odd`) 1 with 2, ...

    Of levels a and b the swap is taken with probability min(1, e^{U_a(x_a) + U_b(x_b) - U_a(x_b) - U_b(x_a)})
    (Swendsen and Wang 1986, Geyer 1991). It leaves the product of the levels' laws as it is, so that each
    level keeps its own; constants of the energies cancel.

    Args:
        potential: U of all rows, each at its own level.
        y: (L·n, ...), level after level. scale: (L·n,), y_scale: it is x = y/scale that is swapped.
        noise: of L·n rows, of which the lower level's decide.
    """
    num = len(y) // num_levels
    rows = torch.arange(len(y), device=y.device).view(num_levels, num)
    partner, first = rows.clone(), int(odd)
    lower = torch.arange(first, num_levels - 1, 2, device=y.device)
    partner[lower], partner[lower + 1] = rows[lower + 1], rows[lower]
    partner = partner.flatten()
    swapped = expand_as(scale, y) * (y / expand_as(scale, y))[partner]
    gain = (potential(y).double() - potential(swapped).double()).view(num_levels, num)
    chance = noise.uniform("swap").log().view(num_levels, num)
    taken = torch.zeros(num_levels - 1, num, dtype=torch.bool, device=y.device)
    taken[lower] = chance[lower] < gain[lower] + gain[lower + 1]
    moved = torch.zeros(num_levels, num, dtype=torch.bool, device=y.device)
    moved[:-1] |= taken
    moved[1:] |= taken
    moved = moved.flatten()
    came_from = torch.where(moved, partner, rows.flatten())
    return Exchanged(torch.where(expand_as(moved, y), swapped, y), taken, came_from)


class Replicas:
    """The swaps of n chains at L levels on their way, and what they come to.

    Attributes:
        num_levels: L, from the one that is asked about upwards.
    """

    def __init__(self, num_levels: int) -> None:
        check_integer("levels that exchange states", num_levels, low=2)
        self.num_levels = num_levels
        self._rounds, self._taken, self._trips = 0, torch.zeros(0), torch.zeros(0)
        self._from_top = torch.zeros(0, dtype=torch.bool)

    def swap(self, potential: Potential, y: Tensor, scale: Tensor, noise: NoiseSource) -> Tensor:
        """The states (L·n, ...) after the next round: even pairs and odd ones take turns."""
        num = len(y) // self.num_levels
        if not self._rounds:
            self._taken = torch.zeros(self.num_levels - 1, num, device=y.device)
            self._trips = torch.zeros(num, device=y.device)
            self._from_top = torch.zeros(len(y), dtype=torch.bool, device=y.device)
        found = exchange(potential, y, scale, self.num_levels, self._rounds % 2 == 1, noise)
        self._rounds += 1
        self._taken += found.taken
        self._from_top = self._from_top[found.came_from]
        self._from_top[-num:] = True
        self._trips += self._from_top[:num]
        self._from_top[:num] = False
        return found.y

    @property
    def acceptance(self) -> Tensor:
        """(L-1, n), the share of swaps between levels l and l + 1 that were taken of those asked for."""
        asked = torch.tensor([(self._rounds + 1 - pair % 2) // 2 for pair in range(self.num_levels - 1)])
        return self._taken.cpu() / asked[:, None]

    @property
    def round_trips(self) -> Tensor:
        """(n,), how often a state that had been at the top arrived at the lowest level."""
        return self._trips.cpu()
