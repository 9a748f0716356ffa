"""What is to be drawn: labels, noise, where walks begin, what is known; of all samples, or of some."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, check_integer
from modules.core.noise import Noise
from modules.core.types import NoiseSource
from modules.sampling.inpainting import Known
from modules.sampling.measuring import Measured


def sample_noise(seed: int, rows: Tensor, dtype: torch.dtype = torch.float32) -> Noise:
    """The noise of samples by their index (n,). Raises ConfigurationError for a seed that is no integer."""
    check_integer("seed", seed)
    return Noise(seed, rows, stream="sample", dtype=dtype)


@dataclass(frozen=True)
class Start:
    """Where walks begin: x (n, *shape) as x_t of level t = `level`, in 1..T."""

    x: Tensor
    level: int


@dataclass(frozen=True)
class Draw:
    """n samples to be drawn; its tensors are on one device and, but for labels and masks, of one dtype.

    Attributes:
        labels: (n,) int64, -1 = none.
        noise: of n rows: a sample is a function of its row, its label and what is given of it.
        start: where the walks begin; None: x_T ~ N(0, I).
        known: pixels that are given, and are returned exactly; None: none are.
        measured: measurements, that samples fit but for their noise; None: none are.

    Raises:
        ConfigurationError: a start, or what is known, of another number of samples.
    """

    labels: Tensor
    noise: NoiseSource
    start: Start | None = None
    known: Known | None = None
    measured: Measured | None = None

    def __post_init__(self) -> None:
        given = {
            "start": self.start.x if self.start else None,
            "known": self.known.image if self.known else None,
            "measured": self.measured.values if self.measured else None,
        }
        for name, x in given.items():
            if x is not None and len(x) != len(self):
                raise ConfigurationError(
                    f"Draw.{name} must be of {len(self)} samples, as labels are, got {len(x)}"
                )

    @classmethod
    def of_seed(
        cls,
        seed: int,
        num: int,
        labels: Tensor | None = None,
        known: Known | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Draw:
        """Samples 0..num-1 of a seed, on the CPU; sample i depends on (seed, i) and on what is asked of it.

        Args:
            labels: (num,) int64, -1 = none; None: all none.
            known: of the num samples.
        """
        if labels is None:
            labels = torch.full((num,), -1)
        given = None if known is None else Known(known.image.to(dtype), known.mask)
        return cls(labels, sample_noise(seed, torch.arange(num), dtype), known=given)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor | slice) -> Draw:
        """Some of the samples."""
        start = Start(self.start.x[rows], self.start.level) if self.start else None
        known = self.known.take(rows) if self.known else None
        measured = self.measured.take(rows) if self.measured else None
        return Draw(self.labels[rows], self.noise.take(rows), start, known, measured)

    def to(self, device: torch.device) -> Draw:
        """On a device, where its noise is made then."""
        start = Start(self.start.x.to(device), self.start.level) if self.start else None
        known = self.known.to(device) if self.known else None
        measured = self.measured.to(device) if self.measured else None
        return Draw(self.labels.to(device), self.noise.to(device), start, known, measured)
