"""Units that are left out at random in training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


def drops_out(network: nn.Module) -> bool:
    """Whether any part leaves units out in training."""
    return any(_rate(part) > 0 for part in network.modules())


@contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """All units are there meanwhile, as in `eval`; other parts stay in the mode they are in."""
    dropping = [part for part in network.modules() if part.training and _rate(part) > 0]
    try:
        for part in dropping:
            part.training = False
        yield
    finally:
        for part in dropping:
            part.training = True


def _rate(part: nn.Module) -> float:
    """The probability of a torch dropout, or of a block that keeps it as a number, as ours do."""
    rate = part.p if isinstance(part, _DropoutNd) else getattr(part, "dropout", 0.0)
    return float(rate) if isinstance(rate, (int, float)) else 0.0  # a part of that name is looked at itself
