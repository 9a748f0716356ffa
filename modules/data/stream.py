"""The order of training data, a function of (seed, step, row) and of nothing else.

Row `row` of the global batch of step `step` is number r = step·batch_size + row of an endless
sequence; epoch r // n runs through its own permutation of the n examples. Which process, worker or
micro-batch asks for a row makes no difference, so runs of any layout see the same batches, and a
resumed run needs no state but its step.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from modules.core.checks import ConfigurationError, DataError, check_bool, check_integer
from modules.core.noise import Noise
from modules.core.types import Batch
from modules.data.base import Examples
from modules.data.quantization import dequantized


def epoch_permutation(
    seed: int, epoch: int, length: int, blocks: Tensor | None = None, window: int = 1
) -> Tensor:
    """The order of the examples in one epoch: (length,) int64.

    Args:
        blocks: (m,) lengths of neighbours that are read together: they come in a drawn order, and as many of
            them as make up `window` examples are shuffled among each other.
    """
    digest = hashlib.blake2b(f"{seed}|order|{epoch}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    if blocks is None:
        return torch.randperm(length, generator=generator)
    spans = torch.arange(length).split(blocks.tolist())
    parts: list[Tensor] = []
    waiting: list[Tensor] = []
    order = torch.randperm(len(blocks), generator=generator).tolist()
    for place, block in enumerate(order, start=1):
        waiting.append(spans[block])
        if sum(map(len, waiting)) >= window or place == len(order):
            together = torch.cat(waiting)
            parts.append(together[torch.randperm(len(together), generator=generator)])
            waiting = []
    return torch.cat(parts)


class TrainingStream:
    """Batches of a data set, in an order that depends on the seed alone.

    Args:
        examples: the opened set.
        batch_size: of the global batch, over all processes and micro-batches.
        seed: of order, flips and the choice of attributes.
        horizontal_flip: mirror each image left to right with probability 1/2.
        dequantize: add a uniform grey step, x + (u - ½)·2/(n-1) for n grey values (spec §13): a density of
            numbers that are whole is none. Rounding gives the pictures back.
        num_workers: threads that prepare batches ahead (decoding leaves the interpreter lock); 0
            prepares each batch when it is asked for, which is right for sets held in memory.
    Raises:
        DataError: if the batch is larger than the set.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int,
        horizontal_flip: bool = False,
        num_workers: int = 0,
        dequantize: bool = False,
    ) -> None:
        check_integer("batch_size", batch_size, low=1)
        check_integer("num_workers", num_workers, low=0, high=1024)
        check_bool("horizontal_flip", horizontal_flip)
        check_bool("dequantize", dequantize)
        if batch_size > len(examples):
            raise DataError(
                f"batch_size {batch_size} is larger than the data set of {len(examples)} examples: lower it"
            )
        if horizontal_flip and len(examples.shape) != 3:
            raise ConfigurationError(
                f"horizontal_flip needs images, got points of shape {examples.shape}: set it to False"
            )
        if dequantize and examples.grey_values is None:
            raise ConfigurationError(
                "dequantize needs data of whole grey values, and this set has others: set it to False"
            )
        self.examples, self.batch_size, self.seed, self.dequantize = examples, batch_size, seed, dequantize
        self.horizontal_flip, self.num_workers = horizontal_flip, num_workers
        self._permutations: dict[int, Tensor] = {}  # the current epoch's and the next one's
        self._lock = threading.Lock()

    def indices(self, step: int, rows: range) -> Tensor:
        """Which examples are rows `rows` of the global batch of step `step`: (len(rows),) int64."""
        n = len(self.examples)
        number = torch.tensor(rows, dtype=torch.int64) + step * self.batch_size
        epoch, position = number // n, number % n
        # a batch is no larger than the set, so it meets two epochs at most
        out = torch.empty_like(number)
        for e in epoch.unique().tolist():
            out[epoch == e] = self._permutation(e)[position[epoch == e]]
        return out

    def _permutation(self, epoch: int) -> Tensor:
        with self._lock:
            if epoch not in self._permutations:
                kept = {e: p for e, p in self._permutations.items() if abs(e - epoch) == 1}
                of = self.examples
                order = epoch_permutation(self.seed, epoch, len(of), of.blocks, of.window)
                self._permutations = {**kept, epoch: order}
            return self._permutations[epoch]

    def batch(self, step: int, rows: range) -> Batch:
        """Rows `rows` of the global batch of step `step`, flipped and with one label a sample (spec §8)."""
        image, labels = self.examples.rows(self.indices(step, rows))
        noise = Noise(self.seed, torch.tensor(rows, dtype=torch.int64), step, stream="data")
        if self.horizontal_flip:
            mirrored = noise.integers("flip", 0, 2).bool()
            image = torch.where(mirrored[:, None, None, None], image.flip(-1), image)
        if self.dequantize and self.examples.grey_values:
            image = dequantized(image, self.examples.grey_values, noise)
        attribute = noise.integers("attribute", 0, labels.shape[1])
        return Batch(image, labels.gather(1, attribute[:, None])[:, 0])

    def iterate(self, first_step: int, row_ranges: list[range]) -> Generator[list[Batch], None, None]:
        """Without end: for each step from `first_step` the batches of `row_ranges` (the micro-batches)."""
        if self.num_workers == 0:
            for step in itertools.count(first_step):
                yield [self.batch(step, rows) for rows in row_ranges]
        ahead = max(2, -(-2 * self.num_workers // len(row_ranges)))  # two tasks a worker wait at least
        exiting = sys.is_finalizing  # looked up now: the exit empties modules before dropped iterators end
        pending: deque[list[Future[Batch]]] = deque()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="data")
        try:
            for step in itertools.count(first_step):
                pending.append([pool.submit(self.batch, step, rows) for rows in row_ranges])
                if len(pending) > ahead:
                    yield [future.result() for future in pending.popleft()]
        finally:
            # the iterator was closed or dropped; at the interpreter's exit the threads have ended already
            if not exiting():
                pool.shutdown(wait=True, cancel_futures=True)
