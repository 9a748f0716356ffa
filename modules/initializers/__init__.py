"""Where chains start: proposals of slightly cleaner data given noisier data."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "base": "Initializer",
        "copy": "CopyInitializer",
        "mlp": "MLPInitializer",
        "own": "GaussianStep OwnInitializer OwnProposal",
        "residual": "NetworkInitializer ResidualInitializer",
        "sum": "InitializerSum",
        "unet": "UNet",
    },
)
