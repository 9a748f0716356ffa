"""What a run shows: pictures, curves, pages, tables."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, {"pictures": "save_samples"})
