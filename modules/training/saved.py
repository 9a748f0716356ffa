"""What a checkpoint holds of a training state, checked as it is taken over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from modules.core.checks import CheckpointError


def load_weights(network: nn.Module, tensors: dict[str, dict[str, Tensor]], group: str) -> None:
    """Load one group of a checkpoint into a network. Raises CheckpointError naming what doesn't fit."""
    if group not in tensors:
        raise CheckpointError(f"the checkpoint has no group {group!r}, only {', '.join(sorted(tensors))}")
    for key, value in network.state_dict().items():
        if key in tensors[group] and tensors[group][key].dtype != value.dtype:
            raise CheckpointError(
                f"group {group!r} doesn't fit the configured network: {key} is {tensors[group][key].dtype}, "
                f"not {value.dtype}"
            )
    try:
        network.load_state_dict(tensors[group])
    except RuntimeError as fault:
        detail = " ".join(str(fault).split())[:300]
        raise CheckpointError(f"group {group!r} doesn't fit the configured network: {detail}") from fault
    check_finite(tensors[group], group)


def check_finite(tensors: Mapping[str, Tensor], group: str) -> None:
    """Raise a CheckpointError that names the first tensor of a group which holds a NaN or an infinity."""
    for name, value in tensors.items():
        if bad := int((~value.isfinite()).sum()):
            raise CheckpointError(
                f"group {group!r}: {name} has {bad:,} of {value.numel():,} values that are not finite: take "
                "another checkpoint"
            )


def number_of(numbers: Mapping[str, Any], name: str, default: float) -> float:
    """A number from 0, or the default where there is none of the name."""
    value = numbers.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**63:
        raise CheckpointError(f"the checkpoint's {name} is no number: {str(value)[:100]}")
    return value


def updates_of(numbers: Mapping[str, Any], name: str) -> int | None:
    """How often a network was updated; None: that isn't known."""
    updates = numbers.get("updates")
    count = updates.get(name) if isinstance(updates, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def best_of(numbers: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best step so far (see Best.after); None: there was none."""
    best = numbers.get("best")
    if best is None:
        return None
    kinds = {"metric": (str,), "value": (int, float), "step": (int,)}
    if not isinstance(best, dict) or not all(isinstance(best.get(key), kind) for key, kind in kinds.items()):
        raise CheckpointError(f"the checkpoint's best step is not one: {str(best)[:100]}")
    return best


def unlogged_of(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What the record had collected since its last row (Diary.note_unlogged): nothing, where it isn't told.

    Of each process the sums and counts by level of each figure; by network the clipped steps, and all steps.
    """
    unlogged = numbers.get("unlogged", {"figures": [], "clipped": {}})
    try:
        tables = [both for sums in unlogged["figures"] for both in sums.values()]
        pairs = list(unlogged["clipped"].values())
        flat = [value for table in [*tables, pairs] for values in table for value in values]
        sound = all(len(table) == 2 for table in tables) and all(len(pair) == 2 for pair in pairs)
        sound = sound and all(type(value) in (int, float) for value in flat)
        sound = sound and all(type(n) is int and 0 <= n < 2**63 for pair in pairs for n in pair)
    except (TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise CheckpointError(f"the checkpoint's figures since the last row are none: {str(unlogged)[:100]}")
    return unlogged
