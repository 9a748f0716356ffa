"""The noise ladder: every coefficient of a level pair, computed once in float64 (spec §1)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError
from modules.core.types import Transition

_OWN = ("energy_scale", "step_size", "loss_weight", "is_top", "y_scale")  # what `coefficients` gives


class Schedule(ABC):
    """A ladder of levels 0..T and, per transition t = 1..T, the coefficients of `Transition`.

    Args:
        num_levels: T.
    Attributes:
        steps_are_widths: step_size is the width of what a chain samples, so that fewer steps can't be longer.

    Raises:
        ConfigurationError: a ladder that is none, or doesn't preserve the variance; coefficients that are
            missing, of another shape, or not above 0.
    """

    steps_are_widths = False

    def __init__(self, num_levels: int) -> None:
        self.num_levels = num_levels
        self._placed: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
        # 1 - ᾱ is asked for, not derived: at the clean end the difference would lose digits
        alpha_bar, noise_var = self._checked_ladder()
        ratio = alpha_bar[1:] / alpha_bar[:-1]
        step_var = noise_var[1:] - ratio * noise_var[:-1]
        logsnr = alpha_bar.log() - noise_var.log()
        self._table = {
            "alpha_t": alpha_bar[1:].sqrt(),
            "alpha_s": alpha_bar[:-1].sqrt(),
            "sigma_t": noise_var[1:].sqrt(),
            "sigma_s": noise_var[:-1].sqrt(),
            "alpha_ts": ratio.sqrt(),
            "sigma_ts": step_var.sqrt(),
            "posterior_var": noise_var[:-1] / noise_var[1:] * step_var,
            "logsnr_t": logsnr[1:],
            "logsnr_s": logsnr[:-1],
        }
        self._table.update(self._checked_coefficients())

    @abstractmethod
    def ladder(self) -> tuple[Tensor, Tensor]:
        """ᾱ_t and 1 - ᾱ_t for t = 0..T, each (T+1,) float64."""

    @abstractmethod
    def coefficients(self, ladder: dict[str, Tensor]) -> dict[str, Tensor]:
        """energy_scale, step_size, loss_weight, is_top and y_scale from the fields that the ladder gives.

        All (T,), float64 but for the bool is_top.
        """

    def _checked_ladder(self) -> tuple[Tensor, Tensor]:
        """`ladder`, from signal to noise; walks begin at N(0, I), which is x_T where ᾱ + σ̄² = 1 alone."""
        name, length = type(self).__name__, self.num_levels + 1
        both = self.ladder()
        for part in both:
            if part.shape != (length,) or part.dtype != torch.float64 or not part.isfinite().all():
                raise ConfigurationError(
                    f"{name}.ladder gave {tuple(part.shape)} {part.dtype}, must give finite float64 of shape "
                    f"({length},), levels 0..{length - 1}"
                )
        alpha_bar, noise_var = both
        total = alpha_bar + noise_var
        worst = int((total - 1).abs().argmax())
        if abs(float(total[worst]) - 1) > 1e-6:
            raise ConfigurationError(
                f"{name}.ladder gave ᾱ + σ̄² = {float(total[worst]):g} at level {worst}, must give 1 at every "
                "level (variance preserving): rescale x_t by 1/√(ᾱ + σ̄²)"
            )
        if not (alpha_bar > 0).all() or not (noise_var[1:] > 0).all() or not (alpha_bar.diff() < 0).all():
            raise ConfigurationError(
                f"{name}.ladder gave ᾱ from {float(alpha_bar[0]):g} to {float(alpha_bar[-1]):g}, must give ᾱ "
                "in (0, 1] that falls from level to level"
            )
        return alpha_bar, noise_var

    def _checked_coefficients(self) -> dict[str, Tensor]:
        """`coefficients`, each (T,) and, but for the bool is_top, above 0."""
        name, given = type(self).__name__, self.coefficients(self._table)
        if set(given) != set(_OWN):
            raise ConfigurationError(
                f"{name}.coefficients gave {', '.join(given)}, must give {', '.join(_OWN)}"
            )
        for key, value in given.items():
            wanted = torch.bool if key == "is_top" else torch.float64
            if value.shape != (self.num_levels,) or value.dtype != wanted:
                raise ConfigurationError(
                    f"{name}.coefficients gave {key} as {tuple(value.shape)} {value.dtype}, must give "
                    f"({self.num_levels},) {wanted}"
                )
            if key != "is_top" and not (value > 0).all():
                raise ConfigurationError(
                    f"{name}.coefficients gave {key} down to {float(value.min()):g}, must give it above 0"
                )
        return given

    def transition(self, t: Tensor, dtype: torch.dtype = torch.float32) -> Transition:
        """The coefficients of transitions t, (b,) int64 in 1..T, on t's device."""
        key = (t.device, dtype)
        if key not in self._placed:
            self._placed[key] = {
                k: v.to(t.device, v.dtype if v.dtype == torch.bool else dtype) for k, v in self._table.items()
            }
        return Transition(t=t, **{k: v[t - 1] for k, v in self._placed[key].items()})

    def with_levels(self, num_levels: int) -> Schedule:
        """The same way from noise to data in another number of levels, where the networks know them.

        Raises:
            ConfigurationError: they know the levels of their own ladder alone.
        """
        raise ConfigurationError(
            f"the networks were trained on the {self.num_levels} levels of a {type(self).__name__}, and know "
            "no others: leave --ladder out"
        )

    def same_as(self, other: Schedule) -> bool:
        """Whether both ladders have equal coefficients, so that their models can be combined (spec §8)."""
        return self.num_levels == other.num_levels and all(
            torch.equal(v, other._table[k]) for k, v in self._table.items()
        )
