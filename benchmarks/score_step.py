"""A score step of a U-Net inside an energy against the same U-Net's step as a plain denoiser.

    OMP_NUM_THREADS=1 python -m benchmarks.score_step
    OMP_NUM_THREADS=1 python -m benchmarks.score_step --compile --formats plain channels_last

Both learn ε by one loss and its backward pass; the energy's ∇E takes a transposed pass of its own, and the
level score's ∂E/∂λ a little beside it ("with level"). All run in turn; ratios are to the denoiser eager in
plain format: medians over the rounds with the least and the largest.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.interleave import interleave, ratio
from modules.core.tensors import sum_per_sample
from modules.energies.unet import UNetEnergy
from modules.layers.embeddings import level_position

SIZES = {
    # gin/one_digits.gin's energy
    "digits": (
        lambda: UNetEnergy((1, 8, 8), dim=32, dim_mults=(1, 1), num_blocks=1, attention_resolutions=()),
        64,
    ),
    "32x32": (lambda: UNetEnergy((3, 32, 32), dim=32, num_blocks=1, attention_resolutions=()), 16),
    "paper": (lambda: UNetEnergy((3, 32, 32), num_blocks=3), 128),
}
"""Energy and batch of each size; the last is for a GPU."""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["digits", "32x32"])
    parser.add_argument("--formats", nargs="+", choices=("plain", "channels_last"), default=["plain"])
    parser.add_argument("--batch-size", type=int, help="in place of the sizes' own")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="compiled, too: minutes of compiling")
    parser.add_argument("--cpu-time", action="store_true", help="of the process, in place of the clock's")
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    arguments = parser.parse_args(words)
    for name in arguments.sizes:
        rows = measure(name, arguments)
        print("\n".join(f"{name}  {key:<40}{value}" for key, value in rows.items()), flush=True)


def measure(name: str, arguments: argparse.Namespace) -> dict[str, str]:
    """Milliseconds of the denoiser, and how many times as long each other step takes."""
    make, batch = SIZES[name]
    batch = arguments.batch_size or batch
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    runs: dict[str, Callable[[], None]] = {}
    for memory in arguments.formats:
        torch.manual_seed(0)
        energy = make().to(device)
        with torch.no_grad():
            for p in energy.parameters():
                p.add_(0.01 * torch.randn_like(p))  # nothing is zero, as it is at the start
        if memory == "channels_last":
            energy = energy.to(memory_format=torch.channels_last)
        for compiled in (False, True) if arguments.compile else (False,):
            for kind in ("denoiser", "energy", "energy, with level"):
                key = f"{kind}, {memory}{', compiled' if compiled else ''}"
                runs[key] = step(copy.deepcopy(energy), kind, batch, compiled, arguments.precision)
    seconds = interleave(
        runs, arguments.rounds, time.process_time if arguments.cpu_time else time.perf_counter
    )
    base = seconds[f"denoiser, {arguments.formats[0]}"]
    rows = {"denoiser: ms": f"{1e3 * sorted(base)[len(base) // 2]:.1f}"}
    for key, found in seconds.items():
        middle, low, high = ratio(found, base)
        rows[key] = f"{middle:.2f} ({low:.2f}-{high:.2f})"
    return rows


def step(energy: UNetEnergy, kind: str, batch: int, compiled: bool, precision: str) -> Callable[[], None]:
    """A loss of random images and its backward pass; without the optimizer, which is the same for all."""
    device = next(energy.parameters()).device
    x = torch.randn(batch, *energy.shape, device=device)
    eps, logsnr = torch.randn_like(x), torch.linspace(-8, 8, batch, device=device)

    def denoise() -> Tensor:
        position, _ = level_position(logsnr, energy.level_waves)
        return energy.layers.evaluate(x, energy.layers.embedding(position))

    def loss() -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            if kind == "denoiser":
                return sum_per_sample((denoise() - eps).float() ** 2).mean()
            slopes = energy.slopes(x, logsnr)
            score = sum_per_sample((slopes.in_x - eps).float() ** 2).mean()
            if kind == "energy":
                return score
            assert slopes.in_level is not None
            return score + (slopes.in_level.float() ** 2).mean()

    evaluate = torch.compile(loss) if compiled else loss

    def run() -> None:
        nn.Module.zero_grad(energy)
        evaluate().backward()

    return run


if __name__ == "__main__":
    main()
