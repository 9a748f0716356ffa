"""Whether long-run chains have settled: drift of what was watched along them, and its error (spec §10)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from modules.core.checks import ConfigurationError, check_number

BATCHES = 10  # of each half, whose means give the error
_ENOUGH_CHAINS = 8  # for the spread between chains to say something


@dataclass(frozen=True)
class Verdict:
    """`stable`, why not (empty if stable), and the numbers that it rests on."""

    stable: bool
    reasons: list[str]
    figures: dict[str, float]

    @property
    def word(self) -> str:
        """ "stable" or "unstable"."""
        return "stable" if self.stable else "unstable"


def drift(series: Tensor) -> tuple[float, float]:
    """Mean of the second half of series (r, n) less that of the first, over n chains, and its standard error.

    The error is the larger of two: by the means of batches in time, which misses what lasts longer than a
    batch; and by the differences of the chains, which are independent. Both are robust, so that a chain
    that flies off cannot hide behind the spread it makes: in time the quieter half speaks for both, over
    chains the median absolute deviation.
    """
    length = len(series) // (2 * BATCHES)
    batches = series.double()[-2 * BATCHES * length :].unflatten(0, (2, BATCHES, length)).mean(2)
    halves = batches.mean(1)  # (2, n)
    difference = halves[1] - halves[0]
    variances = batches.var(1).sum(1)  # of the batch means in each half, summed over chains
    num = series.shape[1]
    error = float((2 * variances.min() / BATCHES).sqrt()) / num
    if num >= _ENOUGH_CHAINS:
        spread = 1.4826 * (difference - difference.median()).abs().median()
        error = max(error, float(spread) / num**0.5)
    return float(difference.mean()), error


def judge_chains(
    energy: Tensor,
    displacement: Tensor,
    num_steps: int,
    recognised: tuple[float, float] | None = None,
    burn_in: float = 0.5,
) -> Verdict:
    """The verdict of spec §10 on chains of `num_steps` steps, watched at equal distances.

    Stable: after the burn-in the energy's two halves differ by less than 2 standard errors, so do the
    displacement's (the slope is that difference over half the time), and the share recognised at the end is
    at least 0.9 of that at the start. Chains that merely haven't settled yet are called unstable too: the
    reason says which figure still moves.

    Args:
        energy: U (r, n) of n chains.
        displacement: (r, n), root-mean-square distance from the start.
        recognised: shares at the start and at the end; None: no judge is at hand.
        burn_in: share of the records that is left out at the beginning.

    Raises:
        ConfigurationError: too few records for the batches.
    """
    check_number("the burn-in", burn_in, low=0, below=1)
    first = round(burn_in * len(energy))
    kept = len(energy) - first
    if kept < 2 * BATCHES:
        raise ConfigurationError(
            f"{kept} records are left after the burn-in; a verdict needs {2 * BATCHES}: "
            "make chains longer or record more often"
        )
    reasons: list[str] = []
    figures: dict[str, float] = {}
    half_time = num_steps * kept / (len(energy) - 1) / 2
    for name, series in (("energy", energy), ("displacement", displacement)):
        finite = bool(series.isfinite().all())
        moved, error = drift(series[first:]) if finite else (float("nan"), float("nan"))
        figures |= {f"{name}_drift": moved, f"{name}_error": error}
        if not finite:
            reasons.append(f"the {name} is not finite")
        elif not abs(moved) <= 2 * error:
            reasons.append(f"the {name} drifts by {moved:.3g} ± {error:.2g} between halves")
    figures["displacement_slope"] = figures["displacement_drift"] / half_time
    if recognised is not None:
        figures |= {"recognised_start": recognised[0], "recognised_end": recognised[1]}
        if not recognised[1] >= 0.9 * recognised[0]:
            reasons.append(f"recognised falls from {recognised[0]:.1%} to {recognised[1]:.1%}")
    return Verdict(not reasons, reasons, figures)
