"""What networks are built of, each layer able to write its own gradient out."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "activations": "Activation activation",
        "attention": "SelfAttention",
        "embeddings": "LevelEmbedding",
        "residual": "ResidualBlock",
        "spectral": "SpectralConv2d SpectralLinear snapshot",
        "stages": "Stage",
    },
)
