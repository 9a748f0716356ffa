"""The initializer's losses: learn from the chain, or from the forward process (spec §5)."""

from __future__ import annotations

import gin
from torch import Tensor

from modules.core.checks import check_integer, check_number
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import Transition
from modules.schedules.forward import posterior_mean


@gin.register
class CooperativeLoss:
    """L_g = mean ||y⁻ - y⁰||², summed over the elements of a sample (spec §5)."""

    def __call__(self, proposal: Tensor, revised: Tensor) -> Tensor:
        """The scalar loss of y⁰ (b, ...), which carries gradient, and y⁻ (b, ...), which doesn't."""
        return sum_per_sample((revised.detach() - proposal) ** 2).mean()


@gin.register
class WarmStart:
    """Regress the proposal mean on the forward posterior's mean in the first steps (spec §5, ours).

    L_g = mean w ||g - y_scale E_q[x_s | x_t, x]||², w = 1/(β̃_t y_scale² + offset).

    Args:
        num_steps: training steps with this loss in place of the cooperative one.
        energy_start: the step from which the energy learns; num_steps: after the warm start, 0: beside it.
        offset: keeps the cleanest level's weight finite.
    """

    def __init__(self, num_steps: int, energy_start: int | None = None, offset: float = 1e-3) -> None:
        check_integer("WarmStart.num_steps", num_steps, low=0)
        if energy_start is not None:
            check_integer("WarmStart.energy_start", energy_start, low=0, high=num_steps)
        check_number("WarmStart.offset", offset, above=0)
        self.num_steps, self.offset = num_steps, offset
        self.energy_start = num_steps if energy_start is None else energy_start

    def __call__(self, mean: Tensor, x: Tensor, x_t: Tensor, transition: Transition) -> Tensor:
        """The scalar loss of proposal means (b, ...) given clean x and noisy x_t."""
        target = expand_as(transition.y_scale, x) * posterior_mean(x, x_t, transition)
        weight = 1 / (transition.posterior_var * transition.y_scale**2 + self.offset)
        return (weight * sum_per_sample((mean - target) ** 2)).mean()
