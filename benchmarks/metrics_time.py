"""Seconds of metrics beside the bare matrix work that they consist of, one thread.

    python -m benchmarks.metrics_time --num 50000 --dim 2048

Random features on both sides. Adding: all batches of both sides into the metric's store. FID's bare work is
two products (d, n)(n, d) and two eigenvalue problems of size d; KID's three products (m, d)(d, m) for each of
its subsets; PRDC's two products (n, d)(d, n), for distances within a set are symmetric. All in float64, as in
the metrics. Products are timed on a part and scaled up. CPU seconds and wall seconds: where other programs
share the core, the first say more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from modules.metrics.base import SetMetric
from modules.metrics.fid import FID
from modules.metrics.kid import KID
from modules.metrics.prdc import PRDC
from modules.metrics.rows import Rows

BATCH, PART = 256, 2048


def seconds(act: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=50_000, help="samples of either side (default 50,000)")
    parser.add_argument("--dim", type=int, default=2048, help="numbers of a sample (default 2,048)")
    names = ("fid", "kid", "prdc")
    parser.add_argument("--metrics", nargs="+", choices=names, default=names, help="of them (default all)")
    parser.add_argument("--mapped", action="store_true", help="KID's and PRDC's features in temporary files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    n, d = arguments.num, arguments.dim
    generator = torch.Generator().manual_seed(0)
    here, there = (torch.randn(n, d, generator=generator) for _ in range(2))
    mapped = arguments.mapped
    made: dict[str, SetMetric] = {
        "fid": FID(),
        "kid": KID(memory_mapped=mapped),
        "prdc": PRDC(memory_mapped=mapped),
    }
    bare = bare_seconds(n, d)
    where = "temporary files" if mapped else "memory"
    print(f"{n:,} x {d:,} on either side, rows in {where}; CPU (wall) seconds")
    print(f"a float64 product (d, n)(n, d): {bare['moments']:.1f}, eigenvalues of d x d: {bare['eigen']:.1f}")
    for name in arguments.metrics:
        metric = made[name]
        adding = seconds(lambda metric=metric: add(metric, here, there))
        computing = seconds(lambda metric=metric: print("  ", metric.compute()))
        least = bare[name]
        print(
            f"{name:5} adding {_shown(adding)}, computing {_shown(computing)}, together "
            f"{(adding[0] + computing[0]) / least:.2f} times the bare work, {least:.1f}",
            flush=True,
        )


def add(metric: SetMetric, here: torch.Tensor, there: torch.Tensor) -> None:
    """Both sides, batch by batch, and read once, where that sorts them."""
    for places in torch.arange(len(here)).split(BATCH):
        part = slice(int(places[0]), int(places[-1]) + 1)
        metric.add_batch(predictions=here[part], references=there[part], indices=places)
    for store in metric.stores():
        if isinstance(store, Rows):
            store.read()


def bare_seconds(n: int, d: int) -> dict[str, float]:
    """CPU seconds of each metric's products and eigenvalue problems."""
    x = torch.randn(PART, d).double()
    moments = min(seconds(lambda: x.T @ x)[0] for _ in range(3)) * n / PART
    square = min(seconds(lambda: x @ x.T)[0] for _ in range(3)) / PART**2
    symmetric = x.T @ x / PART
    eigen = seconds(lambda: torch.linalg.eigh(symmetric))[0]
    values = seconds(lambda: torch.linalg.eigvalsh(symmetric))[0]
    kid = KID()
    size = kid.subset_size if n > kid.subset_size else n
    subsets = kid.num_subsets if n > kid.subset_size else 1
    return {
        "moments": moments,
        "eigen": eigen,
        "fid": 2 * moments + eigen + values,
        "kid": 3 * subsets * square * size**2,
        "prdc": 2 * square * n**2,
    }


def _shown(taken: tuple[float, float]) -> str:
    return f"{taken[0]:.2f} ({taken[1]:.2f})"


if __name__ == "__main__":
    main()
