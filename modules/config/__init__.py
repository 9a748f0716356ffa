"""gin at the edge: reading, names, faults, usage."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "loading": "Config load load_text",
    },
)
