"""The loop, the live state, its diary and guards, averages and optimizers."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "best": "Best",
        "ema": "EMA",
        "guards": "Guard RaiseOnDivergence Rollback SkipStep",
        "muon": "Muon",
        "optimizers": "AdamW Optimizer",
        "state": "Training",
        "trainer": "Trainer",
    },
)
