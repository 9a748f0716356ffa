"""What a method trains and everything else samples from, as one argument."""

from __future__ import annotations

from dataclasses import dataclass

from modules.energies.base import Energy
from modules.initializers.base import Initializer
from modules.schedules.base import Schedule


@dataclass(frozen=True)
class Networks:
    """An energy and an initializer, live or averaged, and the levels that they know."""

    energy: Energy
    initializer: Initializer
    schedule: Schedule
