"""The mean from which chains start, guided, whoever proposes it."""

from __future__ import annotations

from torch import Tensor

from modules.core.types import Transition
from modules.energies.base import Energy
from modules.guidance.base import Guidance
from modules.initializers.base import Initializer
from modules.initializers.own import OwnInitializer


def proposal_mean(
    guidance: Guidance,
    energy: Energy,
    initializer: Initializer,
    x_t: Tensor,
    transition: Transition,
    label: Tensor,
) -> Tensor:
    """g (b, ...) in y: an initializer network's guided mean, or the guided energy's own (§4, §13)."""
    if isinstance(initializer, OwnInitializer):
        bound = guidance.energy(energy, initializer.energy_level(transition), label)
        return initializer.mean_from(bound, x_t, transition)
    return guidance.mean(initializer, x_t, transition, label)
