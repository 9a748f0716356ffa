"""What a trained energy is asked: long chains and their verdict, detection, landscapes."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "chains": "LongChains along_ladder at_level",
        "detection": "scores separation",
        "landscape": "Plane line log_density plane",
        "verdict": "Verdict judge_chains",
    },
)
