"""Every random number of the project, as a pure function of (seed, row, step, purpose).

A row is a position in the global batch (training) or an image's index (sampling). No state, no
generator: a number doesn't depend on batch size, process count, device or what was drawn before.
The generator is Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_AT_ONCE = 2**18  # normals made in one go: about 10 MB of words on their way


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox 4x32-10: four int64 tensors holding 32-bit words -> four words of random bits, broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # products are below 2^64: int64 wraps, and the mask takes the right 32 bits of both halves
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


class Noise:
    """Random numbers for given rows, keyed by a stream of names.

    Args:
        seed: any integer.
        rows: (b,) int64 in 0..2^32-1, one per sample; its device is where numbers are made.
        step: 0..2^32-1, the training step; 0 where there is none.
        stream: names that keep one use apart from another ("train", "sample", ...).
        dtype: of what is drawn; float32 and float64 draws of one key agree to float32 precision.
    """

    def __init__(
        self, seed: int, rows: Tensor, step: int = 0, stream: str = "", dtype: torch.dtype = torch.float32
    ) -> None:
        self.seed, self.rows, self.step, self.stream, self.dtype = int(seed), rows, int(step), stream, dtype

    def child(self, name: str) -> Noise:
        """An independent source for the same rows and step."""
        return Noise(self.seed, self.rows, self.step, f"{self.stream}/{name}", self.dtype)

    def take(self, rows: Tensor | slice) -> Noise:
        """The numbers of some of the rows."""
        return Noise(self.seed, self.rows[rows], self.step, self.stream, self.dtype)

    def to(self, device: torch.device) -> Noise:
        """The same numbers, made on a device."""
        return Noise(self.seed, self.rows.to(device), self.step, self.stream, self.dtype)

    def _words(self, purpose: str, count: int, draws: range) -> Tensor:
        """32-bit words (len(draws), b, count), int64."""
        digest = hashlib.blake2b(f"{self.seed}|{self.stream}|{purpose}".encode(), digest_size=8).digest()
        key = (int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little"))
        device = self.rows.device
        blocks = torch.arange(-(-count // 4), device=device)
        draw = torch.arange(draws.start, draws.stop, device=device)[:, None, None]
        step = torch.full((1, 1, 1), self.step, device=device)
        words = philox((blocks, self.rows[:, None], draw, step), key)
        shape = (len(draws), len(self.rows), len(blocks))
        # words of one kind lie together: element i is word i // n_blocks of block i % n_blocks
        return torch.cat([w.expand(shape) for w in words], 2)[:, :, :count]

    def _unit(self, words: Tensor) -> Tensor:
        """Words to uniforms in (0, 1); float32 keeps 24 bits, and of them the largest would round to 1."""
        if self.dtype == torch.float64:
            return (words.double() + 0.5) * 2.0**-32
        return (((words >> 8).float() + 0.5) * 2.0**-24).clamp(max=1 - 2.0**-24)

    def uniform(self, purpose: str, shape: tuple[int, ...] = (), draw: int = 0) -> Tensor:
        """Uniforms in (0, 1): (b, *shape)."""
        return self._unit(self._words(purpose, math.prod(shape), range(draw, draw + 1))).reshape(-1, *shape)

    def integers(self, purpose: str, low: int, high: int) -> Tensor:
        """Integers (b,) in low..high-1, int64 (32-bit multiply-shift; bias below (high - low)/2^32)."""
        return low + ((self._words(purpose, 1, range(1))[0, :, 0] * (high - low)) >> 32)

    def normal(self, purpose: str, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        """Standard normals (b, *shape)."""
        return self._normals(purpose, shape, range(draw, draw + 1))[0]

    def normals(self, purpose: str, shape: tuple[int, ...], count: int) -> Iterator[Tensor]:
        """`normal`'s draws 0..count-1, small ones several at once: Philox is 150 operations."""
        at_once = max(1, _AT_ONCE // max(1, len(self.rows) * math.prod(shape)))
        for first in range(0, count, at_once):
            yield from self._normals(purpose, shape, range(first, min(first + at_once, count)))

    def _normals(self, purpose: str, shape: tuple[int, ...], draws: range) -> Tensor:
        """Standard normals (len(draws), b, *shape), by Box and Muller (1958)."""
        count = math.prod(shape)
        half = -(-count // 2)
        u = self._unit(self._words(purpose, 2 * half, draws))
        radius = (-2.0 * torch.log(u[..., :half])).sqrt()
        angle = (2.0 * math.pi) * u[..., half:]
        z = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], 2)
        return z[..., :count].reshape(len(draws), len(self.rows), *shape)
