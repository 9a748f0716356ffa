"""Scores of outliers, larger = more outlying."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "base": "Score",
        "denoising": "DenoisingScore",
        "energy": "EnergyScore GradientNormScore NoisyEnergyScore",
        "likelihood": "LikelihoodScore TypicalityScore",
    },
)
