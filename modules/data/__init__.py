"""Data sets: real ones through Hugging Face datasets, and embedded ones that need no network."""

from modules.data.base import Data, Examples, MemoryExamples
from modules.data.digits import Digits, digits_split
from modules.data.hub import HuggingFaceData
from modules.data.points import Checkerboard, GaussianMixture2D, Rings
from modules.data.shapes import Shapes
from modules.data.stream import TrainingStream

__all__ = [
    "Checkerboard",
    "Data",
    "Digits",
    "Examples",
    "GaussianMixture2D",
    "HuggingFaceData",
    "MemoryExamples",
    "Rings",
    "Shapes",
    "TrainingStream",
    "digits_split",
]
