"""Data sets: real ones through Hugging Face datasets, and embedded ones that need no network."""

from modules.core.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "base": "Data Examples MemoryExamples",
        "digits": "Digits digits_split",
        "hub": "HuggingFaceData",
        "images": "read_image",
        "quantization": "to_bytes to_unit_range",
        "points": "Checkerboard GaussianMixture2D Rings",
        "shapes": "Shapes",
        "stream": "TrainingStream",
        "torch_data": "TorchData",
    },
)
