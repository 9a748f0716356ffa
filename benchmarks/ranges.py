"""A share over seeds, in words."""

from __future__ import annotations

from collections.abc import Sequence


def spread(shares: Sequence[float]) -> str:
    """Mean, and least and largest, in percent: "71.5 (68.0-73.8)"."""
    percent = [100 * share for share in shares]
    return f"{sum(percent) / len(percent):.1f} ({min(percent):.1f}-{max(percent):.1f})"
