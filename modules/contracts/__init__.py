"""What components of a user's own must give, looked at once on real values: each fault is one line."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "before": "check_sampling check_training",
        "outputs": "check_output",
        "rows": "check_rows",
    },
)
