"""What a run knows of where its weights come from, for those who give it away."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from modules.config.loading import Config
from modules.methods.base import Method
from modules.runs.data_record import DataRecord
from modules.runs.model import Model
from modules.sampling.generation import Sampled


class Trained(Model):
    """A model with the configuration and the checkpoint that it was built from.

    Attributes:
        folder, config: where it lies, and its configuration; None: it was made of objects.
        method: its networks hold the loaded weights.
        checkpoint, weights: where its weights come from, and which they are, "ema" or "live".
        step: of the checkpoint.
        recorded: what the data were when it was trained; None: it is from before that was kept.
    """

    folder: Path
    config: Config | None
    method: Method
    checkpoint: Path | None
    weights: str
    step: int
    recorded: DataRecord | None

    @abstractmethod
    def generate(
        self,
        num: int,
        label: int | Sequence[int] | Tensor | None = None,
        guidance: float | None = None,
        seed: int = 0,
        batch_size: int = 256,
        dtype: torch.dtype = torch.float32,
        progress: bool = False,
    ) -> Sampled:
        """Images 0..num-1 of a seed."""
