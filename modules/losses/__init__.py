"""What the networks learn by."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "cooperative": "CooperativeLoss WarmStart",
        "likelihood": "RecoveryLikelihoodLoss",
    },
)
