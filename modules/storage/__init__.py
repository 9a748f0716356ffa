"""What lies on disk and survives a kill: durable files, checkpoints, the lock of a run's folder."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "run_lock": "run_lock",
    },
)
