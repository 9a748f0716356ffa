"""Training methods: a module over the networks whose forward is the training step up to the losses."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "base": "Method",
        "networks": "Networks",
        "one_energy": "OneEnergy",
        "recovery": "RecoveryLikelihood",
        "shown": "Panel",
    },
)
