"""What the networks learn by."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "contrast": "RecoveryContrast",
        "cooperative": "CooperativeLoss WarmStart",
        "fokker_planck": "FokkerPlanck",
        "levels": "LadderLevels LevelLaw MixedLevels UniformLevels",
        "likelihood": "RecoveryLikelihoodLoss",
        "score": "LevelScore ScoreMatching",
    },
)
