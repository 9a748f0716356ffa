"""Which step of a run counts as its best."""

from __future__ import annotations

import math
from typing import Any

import gin

from modules.core.checks import check_bool, check_instance


@gin.register
class Best:
    """The step with the lowest, or highest, value of a metric; the first of equal ones.

    Args:
        metric: "sample_distance", of the samples that are drawn anyway, or a value that Trainer.evaluation
            measures, such as "fid".
        lower_is_better: its direction.
    """

    def __init__(self, metric: str = "sample_distance", lower_is_better: bool = True) -> None:
        check_instance("Best.metric", metric, str)
        check_bool("Best.lower_is_better", lower_is_better)
        self.metric, self.lower_is_better = metric, lower_is_better

    def after(self, best: dict[str, Any] | None, step: int, value: float) -> dict[str, Any] | None:
        """The best so far, {"metric", "value", "step"} or None, when `step` has reached `value`.

        A NaN or an infinity is never best, and a best by another metric counts for nothing.
        """
        if not math.isfinite(value):
            return best
        if best is not None and best["metric"] == self.metric:
            sign = 1 if self.lower_is_better else -1
            if sign * value >= sign * best["value"]:
                return best
        return {"metric": self.metric, "value": value, "step": step}
