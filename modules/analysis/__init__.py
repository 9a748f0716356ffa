"""What a trained energy is asked: long chains and their verdict, detection, landscapes."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "annealing": "AnnealingPath anneal log_mean sandwich tune",
        "chains": "LongChains along_ladder at_level",
        "detection": "scores separation",
        "landscape": "Plane line log_density plane",
        "likelihood": "by_denoising by_evaluation bits_per_dim",
        "mixing": "autocorrelation_time",
        "tempering": "Replicas exchange",
        "verdict": "Verdict judge_chains",
    },
)
