"""Checkpoints of the papers' own code, read into this library's runs."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "adoption": "adopt",
        "checkpoint": "Learnt Published read",
        "names": "energy_names unet_names",
        "sizes": "energy_sizes unet_sizes",
    },
)
