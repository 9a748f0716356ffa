"""Floating-point operations of the papers' models, and the days of training that follow from a rate.

    python -m benchmarks.flops --tflops 400        # what a device gives, of its peak, in this program

Counted by torch on the meta device, per image: the energy forward and its gradient in the input (the chain),
energy and initializer forward and backward (learning).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from modules.core.types import Transition
from modules.energies.recovery import energy_and_grad
from modules.energies.resnet import CooperativeResNet
from modules.initializers.unet import UNet
from modules.schedules.cosine import CosineSchedule

# images of a step, steps of a training
RUNS = {
    "CIFAR-10": ((3, 32, 32), 3, 256, 400_000),
    "ImageNet 32x32": ((3, 32, 32), 2, 256, 400_000),
    "CelebA 64x64": ((3, 64, 64), 3, 128, 400_000),
}
CHAIN, LEVELS = 15, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tflops", type=float, default=400.0, help="rate of one device (default 400)")
    rate = 1e12 * parser.parse_args().tflops
    print(
        "model             GFLOP/image: energy  step  sample | batch   s/step  days  50,000 samples (minutes)"
    )
    for name, (shape, blocks, batch, steps) in RUNS.items():
        forward, chain, learning, proposal = costs(shape, blocks)
        step = CHAIN * chain + learning
        sample = LEVELS * (CHAIN * chain + proposal)
        for devices in (1, 8):
            seconds = step * batch / rate / devices
            days, minutes = seconds * steps / 86400, 5e4 * sample / rate / devices / 60
            print(
                f"{name:<16} x{devices} {forward / 1e9:>18.2f} {step / 1e9:>6.1f} {sample / 1e9:>7.0f}"
                f" | {batch:>5} {seconds:>8.3f} {days:>5.1f} {minutes:>8.1f}"
            )


def costs(shape: tuple[int, ...], unet_blocks: int) -> tuple[int, int, int, int]:
    """Operations per image: E forward; E and its gradient in y; learning from y⁺ and y⁻; one proposal."""
    with torch.device("meta"):
        energy, unet = CooperativeResNet(shape), UNet(shape, num_blocks=unet_blocks)
        y, t = torch.zeros(1, *shape), torch.ones(1, dtype=torch.int64)
        transition = CosineSchedule(LEVELS).transition(t)
    bound = energy.at(transition)
    return (
        _count(lambda: bound(y)),
        _count(lambda: energy_and_grad(bound, y)),
        _count(lambda: _learn(energy, unet, y, transition)),
        _count(lambda: unet.mean(y, transition)),
    )


def _learn(energy: CooperativeResNet, unet: UNet, y: Tensor, transition: Transition) -> None:
    both = torch.cat([y, y])
    energy(both, transition.map(lambda v: torch.cat([v, v]))).sum().backward()
    unet.mean(y, transition).sum().backward()


def _count(function: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
