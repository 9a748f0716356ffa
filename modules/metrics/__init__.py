"""Figures of samples: evaluate.Metric subclasses, made directly."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "base": "Metric PairMetric SetMetric",
        "class_accuracy": "ClassAccuracy",
        "detection": "Detection",
        "fid": "FID",
        "grid_kl": "GridKL",
        "inception_score": "InceptionScore",
        "kid": "KID",
        "mode_mass": "ModeMass",
        "perceptual": "PerceptualDistance",
        "prdc": "PRDC",
        "recognised": "Recognised",
        "rows": "Rows",
        "sliced_wasserstein": "SlicedWasserstein",
        "stores": "Moments Store Sums",
    },
)
