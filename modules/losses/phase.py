"""When a loss counts, and how much."""

from __future__ import annotations

from modules.core.checks import ConfigurationError, check_integer, check_number


class Phase:
    """A weight, from step `first_step` (0, 1, ...) until before `last_step`; None: to the end.

    Of these steps, one in `every`.
    """

    def __init__(
        self, owner: str, weight: float, first_step: int, last_step: int | None, every: int = 1
    ) -> None:
        check_integer(f"{owner}.every", every, low=1)
        check_number(f"{owner}.weight", weight, low=0)
        check_integer(f"{owner}.first_step", first_step, low=0)
        if last_step is not None:
            check_integer(f"{owner}.last_step", last_step, low=0)
            if last_step <= first_step:
                raise ConfigurationError(
                    f"{owner}.last_step {last_step} must be above first_step {first_step}, or it never counts"
                )
        self.weight, self.first_step, self.last_step, self.every = weight, first_step, last_step, every
        self.settings = {"weight": weight, "first_step": first_step, "last_step": last_step}

    def at(self, step: int) -> float:
        """The weight at `step`; 0 outside."""
        inside = step >= self.first_step and (self.last_step is None or step < self.last_step)
        return self.weight if inside and (step - self.first_step) % self.every == 0 else 0.0
