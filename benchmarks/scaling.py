"""What a training step and a sample cost against batch, chain, levels, width and resolution: one picture.

    OMP_NUM_THREADS=1 python -m benchmarks.scaling --output docs/pictures/scaling.png

Also prints the efficiency of two CPU processes: images per second of two over twice those of one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from benchmarks.cases import Case
from benchmarks.interleave import interleave
from benchmarks.speed import Fast
from modules.core.noise import Noise
from modules.energies.resnet import CooperativeResNet
from modules.guidance.none import NoGuidance
from modules.initializers.unet import UNet
from modules.samplers.langevin import Langevin
from modules.sampling.draw import Draw
from modules.sampling.generation import Generation
from modules.schedules.cosine import CosineSchedule

AXES: dict[str, list[int]] = {
    "batch size": [4, 8, 16, 32, 64],
    "steps of a chain, K": [0, 5, 10, 15, 30],
    "levels, T (sampling)": [2, 4, 6, 8],
    "width of the energy, ch": [16, 32, 64],
    "resolution": [8, 16, 32],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("scaling.png"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _worker(arguments.rounds)
        return
    curves: dict[str, dict[int, float]] = {}
    for axis, values in AXES.items():
        seconds = interleave({str(value): _work(axis, value) for value in values}, arguments.rounds)
        curves[axis] = {value: median(seconds[str(value)]) for value in values}
        print(axis, {value: f"{1e3 * cost:.0f} ms" for value, cost in curves[axis].items()}, flush=True)
    _draw(curves, arguments.output)
    one, two = (_images_per_second(processes, arguments.rounds) for processes in (1, 2))
    print(f"images/s of 1 process {one:.1f}, of 2 {two:.1f}: efficiency {two / one / 2:.2f}")


def _case(channels: int = 32, resolution: int = 16, num_steps: int = 5, batch_size: int = 16) -> Case:
    shape = (3, resolution, resolution)
    return Case(
        lambda: CooperativeResNet(shape, channels=channels, channel_mult=(1, 2, 2), num_blocks=1),
        lambda: UNet(shape, dim=32, num_blocks=1, attention_resolutions=(8,)),
        batch_size,
        num_steps,
    )


def _work(axis: str, value: int) -> Callable[[], object]:
    """A training step, or for T a walk down the levels, with one size changed."""
    if axis == "levels, T (sampling)":
        method = _case().method().eval()
        generation = Generation(Langevin(5), NoGuidance(), denoise_factor=0.0)
        draw = Draw(torch.full((16,), -1), Noise(0, torch.arange(16)))
        networks = replace(method.models(), schedule=CosineSchedule(value))
        return lambda: generation.sample(networks, draw)
    name = {
        "batch size": "batch_size",
        "steps of a chain, K": "num_steps",
        "width of the energy, ch": "channels",
        "resolution": "resolution",
    }[axis]
    case = _case(**{name: value})
    fast = Fast(case, "no")
    x = torch.rand(case.batch_size, *fast.method.energy.shape) * 2 - 1
    return lambda: fast.step(x)


def _draw(curves: dict[str, dict[int, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 3), layout="constrained")
    for panel, (axis, costs) in zip(panels, curves.items(), strict=True):
        panel.plot(list(costs), [1e3 * cost for cost in costs.values()], "o-")
        panel.set(xlabel=axis, ylim=(0, None), xlim=(0, None))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("milliseconds")
    figure.savefig(path, dpi=90)


def _worker(rounds: int) -> None:
    """Global batch 16 a process; the main one prints images per second of all."""
    torch.set_num_threads(1)
    fast = Fast(_case(), "no")
    processes, rank = fast.runtime.num_processes, fast.runtime.rank
    x = torch.rand(16, *fast.method.energy.shape) * 2 - 1
    rows = [range(16 * rank, 16 * rank + 16)]
    seconds = interleave({"step": lambda: fast.step(x, rows)}, 3 * rounds)["step"]
    if fast.runtime.is_main:
        print(json.dumps({"processes": processes, "images_per_second": 16 * processes / median(seconds)}))
    fast.runtime.finish()


def _images_per_second(processes: int, rounds: int) -> float:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += ["-m", "benchmarks.scaling", "--worker", "--rounds", str(rounds)]
    # without it accelerate makes no group of processes on a CPU, and each would count for itself
    environment = os.environ if torch.cuda.is_available() else {**os.environ, "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["processes"] == processes
    return float(found["images_per_second"])


if __name__ == "__main__":
    main()
