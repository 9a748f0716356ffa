"""What metrics compare: features and class probabilities of images."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "base": "Extracted Extractor Features",
        "digits": "DigitsClassifier",
        "inception_v3": "InceptionV3",
        "module": "ModuleFeatures",
        "pixels": "RawPixels",
    },
)
