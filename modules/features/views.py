"""What metrics take of samples: features, class probabilities, modes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from modules.data.base import Data
from modules.data.points import Points
from modules.features.base import Extracted, Features


@dataclass(frozen=True)
class Views:
    """Samples of a data set as metrics see them, by the `takes` of each metric.

    Attributes:
        data: whose samples they are.
        features: the network of "features" and "probabilities".
        classifier: that of "classes", and of the "modes" of images.
    """

    data: Data
    features: Features
    classifier: Features

    def network(self, takes: str) -> Features:
        """By which network a view is made."""
        return self.classifier if takes in ("classes", "modes") else self.features

    def of(self, x: Tensor, kinds: Iterable[str]) -> dict[str, Tensor]:
        """Views of samples as they are measured: 8-bit images or points, on the device.

        Returns:
            by kind: features (n, d), probabilities or classes (n, classes), modes (n,) int64.
        """
        extracted: dict[int, Extracted] = {}
        found = {}
        for kind in kinds:
            if kind == "modes" and isinstance(self.data, Points):
                found[kind] = self.data.cell(x.cpu())
                continue
            network = self.network(kind)
            if id(network) not in extracted:  # each is evaluated once
                extracted[id(network)] = network.extract(x)
            features, logits = extracted[id(network)].features, extracted[id(network)].logits
            if kind == "features":
                found[kind] = features
            else:
                assert logits is not None  # see references.check_metrics
                found[kind] = logits.argmax(1) if kind == "modes" else logits.softmax(1)
        return found
