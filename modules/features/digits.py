"""Features of 8x8 digits, from a small classifier that comes with the package."""

from __future__ import annotations

from pathlib import Path

import gin
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from modules.core.checks import CheckpointError, ConfigurationError
from modules.core.fingerprints import digest
from modules.features.base import Extracted, Extractor, Features, check_bytes, loaded, outputs_of

LAYERS = ("body.1", "body.3", "body.6")  # its convolutions, after their ReLUs
FILE = Path(__file__).with_name("digits_classifier.safetensors")


class DigitsNetwork(nn.Module):
    """Convolutions, 64 features, 10 classes; images (n, 1, 8, 8) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(64 * 4 * 4, 64), nn.SiLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 64) and logits (n, 10)."""
        features = self.body(x)
        return features, self.head(features)


@gin.register
class DigitsClassifier(Extractor):
    """64 features and the logits of a classifier of the digits (benchmarks/make_digits_classifier.py).

    It has learned from the 1,437 training digits alone, and to be unsure of noise, blends and pieces.
    """

    def open(self, shape: tuple[int, ...], device: torch.device) -> Features:
        if tuple(shape) != (1, 8, 8):
            raise ConfigurationError(
                f"DigitsClassifier takes images of shape (1, 8, 8), the data has {tuple(shape)}: set another "
                "Evaluation.extractor"
            )
        if not FILE.exists():
            raise CheckpointError(f"{FILE} is missing: reinstall the package")
        weights = load_file(FILE)
        network = loaded(DigitsNetwork, weights, device)

        @torch.no_grad()
        def extract(images: Tensor) -> Extracted:
            check_bytes(images)
            return Extracted(*network(images.float() / 127.5 - 1))

        protocol = {"extractor": "DigitsClassifier", "weights": digest(weights), "resize": None}
        return Features(extract, protocol, True, outputs_of(network, LAYERS, extract))
