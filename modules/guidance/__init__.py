"""What replaces energy and proposal when sampling with conditions."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "base": "Guidance",
        "classifier_free": "ClassifierFreeGuidance",
        "composition": "Composition",
        "none": "NoGuidance",
        "proposal": "proposal_mean",
    },
)
