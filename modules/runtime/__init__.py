"""Devices, precision, processes and signals: the only user of accelerate."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "runtime": "Runtime",
        "signals": "SamplingStoppedError Signals",
    },
)
