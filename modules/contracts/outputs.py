"""The contract of a training step: one scalar a network that learns, figures of each sample to be watched."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from modules.contracts.faults import check_tensor, told, what
from modules.contracts.parts import is_own, parts
from modules.core.checks import ConfigurationError, nearest
from modules.core.types import LossOutput
from modules.methods.base import Method


def check_output(method: Method, output: object, num: int, networks: Collection[str], first: bool) -> None:
    """Raise unless a method's output can be learnt from; shapes at every step, values at the `first`.

    Args:
        num: b, samples of the micro-batch. networks: the names of those that learn.

    Raises:
        ConfigurationError: naming the class, what it gave and what it must give.
    """
    if not isinstance(output, LossOutput):
        raise told(f"{type(method).__name__}.forward", f"a {type(output).__name__}", "a LossOutput")
    for name, loss in output.losses.items():
        if name not in networks:
            raise ConfigurationError(
                f"{type(method).__name__} gave a loss {name!r}, must name the networks that learn: "
                f"{', '.join(networks)}.{nearest(str(name), list(networks))}"
            )
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            raise told(
                _culprit(method), f"losses[{name!r}] {what(loss)}", "a scalar (), the mean over the batch"
            )
        if not loss.requires_grad:
            raise told(
                _culprit(method),
                f"losses[{name!r}] without a gradient",
                "one that its network's weights reach",
            )
    if not output.losses:
        raise told(f"{type(method).__name__}.forward", "no loss", f"one for {' or '.join(networks)}")
    check_tensor(f"{type(method).__name__}'s t", output.t, (num,), torch.int64)
    for name, values in output.watch.items():
        label = f"{type(method).__name__}'s watch[{name!r}]"
        if not isinstance(name, str) or not name or "/" in name:
            raise told(label, "that name", "a word without '/', which sets levels apart")
        check_tensor(label, values, (num,))
        if values.requires_grad:
            raise told(label, "values that carry gradients", "detached ones")
    if first:
        low, high = int(output.t.min()), int(output.t.max())
        if low < 1 or high > method.schedule.num_levels:
            raise told(
                f"{type(method).__name__}'s t", f"{low} to {high}", f"levels 1..{method.schedule.num_levels}"
            )


def _culprit(method: Method) -> str:
    """The method or, where that is the project's, the user's loss in it."""
    if not is_own(method):
        losses = [part for part in parts(method) if is_own(part) and callable(part)]
        for part in losses:
            if not isinstance(part, nn.Module):
                return f"{type(part).__name__} (in {type(method).__name__})"
    return type(method).__name__
