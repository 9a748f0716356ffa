"""The energy's loss: recovery likelihood by contrast of data and chain (spec §5)."""

from __future__ import annotations

import gin
from torch import Tensor

from modules.core.checks import check_bool, check_number
from modules.core.types import Transition


@gin.register
class RecoveryLikelihoodLoss:
    """L_f = mean w_t [E(y⁺) - E(y⁻)], whose gradient is that of -log p(x_s | x_t), weighted (spec §5).

    Args:
        weighted: w_t = σ_1/σ_t of the transition, or 1.
        magnitude_penalty: λ of an added λ·mean[E(y⁺)² + E(y⁻)²], against drifting energies; 0: none.
    """

    def __init__(self, weighted: bool = True, magnitude_penalty: float = 0.0) -> None:
        check_bool("RecoveryLikelihoodLoss.weighted", weighted)
        check_number("RecoveryLikelihoodLoss.magnitude_penalty", magnitude_penalty, low=0)
        self.weighted, self.magnitude_penalty = weighted, magnitude_penalty

    def __call__(self, positive: Tensor, negative: Tensor, transition: Transition) -> Tensor:
        """The scalar loss of energies (b,) of data and of the chain's ends."""
        contrast = positive - negative
        loss = (transition.loss_weight * contrast if self.weighted else contrast).mean()
        if self.magnitude_penalty > 0:
            loss = loss + self.magnitude_penalty * (positive**2 + negative**2).mean()
        return loss
