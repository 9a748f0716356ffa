"""Noise ladders: every coefficient of a level pair, and the forward process down them."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "base": "Schedule",
        "continuous": "ContinuousSchedule",
        "cosine": "CosineSchedule",
        "forward": "independent_pair marginal posterior_mean shared_noise_pair",
        "langevin": "LangevinSchedule",
        "levels": "level",
        "linear": "LinearSchedule",
        "score": "ScoreSchedule",
        "subsampled_linear": "SubsampledLinearSchedule",
    },
)
