"""The walk down the levels, whole images by index, and what is known or shared on the way."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "draw": "Draw Start sample_noise",
        "generation": "Generation Sampled",
        "indexed": "sample sample_batches",
        "inpainting": "Inpainting Known",
        "measuring": "Blur Downsampling LinearMap Measured RandomPixels",
        "interpolation": "spherical",
    },
)
