"""Recovery likelihood in the coordinates of one energy (spec §13)."""

from __future__ import annotations

import gin
from torch import Tensor

from modules.core.checks import check_number
from modules.losses.phase import Phase


@gin.register
class RecoveryContrast:
    """E(x_s⁺) - E(x_s⁻) of data and of the chain's ends: recovery likelihood, levels weighing alike (§13).

    E, not E/σ̄: -log p(x_s | x_t)'s gradient times σ̄.

    Args:
        weight: a factor. first_step, last_step: the steps in which it counts; in others no chain is run.
        limit: |E⁺ - E⁻| beyond which a sample counts as much as at the limit; None: as it is.
    """

    def __init__(
        self,
        weight: float = 10.0,
        first_step: int = 0,
        last_step: int | None = None,
        limit: float | None = None,
    ) -> None:
        self.phase = Phase("RecoveryContrast", weight, first_step, last_step)
        self.settings = self.phase.settings
        if limit is not None:
            check_number("RecoveryContrast.limit", limit, above=0)
        self.limit = limit

    def __call__(self, positive: Tensor, negative: Tensor) -> Tensor:
        """The losses (b,) of energies (b,) of data and of the chain's ends."""
        gap = positive - negative
        return gap if self.limit is None else gap.clamp(-self.limit, self.limit)
