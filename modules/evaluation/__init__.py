"""Which metrics, of how many samples, against which reference."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "evaluation": "Evaluation Evaluator",
    },
)
