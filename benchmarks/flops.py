"""Floating-point operations and memory of the papers' models, and the hours of training that follow.

    python -m benchmarks.flops --tflops 400        # what a device gives, of its peak, in this program

Counted by torch on the meta device, per image, of the networks that the gin files say: the energy forward and
its gradient in the input (the chain), energy and initializer forward and backward (learning), and the bytes
that autograd keeps for it in float32; weights, gradients, Adam's moments, the average and the normalized
weights are six times the parameters. T1k learns by the gradient of a gradient, and samples by one a level.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from modules import config
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.energies.recovery import energy_and_grad
from modules.initializers.base import Initializer
from modules.runs.folder import is_bound
from modules.schedules.cosine import CosineSchedule

FILES = (
    *("cdrl_cifar10", "cdrl_cifar10_large", "cdrl_imagenet32_uncond", "cdrl_imagenet32", "cdrl_celeba64"),
    *("cdrl_celeba64_attributes", "drl_cifar10", "drl_svhn", "drl_celeba64"),
    *("drl_church64", "drl_bedroom64", "drl_church128", "drl_bedroom128"),
    *("drl_t1k_cifar10", "drl_t1k_svhn", "drl_t1k_celeba64", "drl_t1k_church64", "drl_t1k_bedroom64"),
    *("drl_t1k_church128", "drl_t1k_bedroom128"),
)
LEVELS, T1K_LEVELS = 6, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tflops", type=float, default=400.0, help="rate of one device (default 400)")
    rate = 1e12 * parser.parse_args().tflops
    print(
        "file                     GFLOP/image: energy  step  sample | batch  s/step  hours  on 8"
        "  minutes for 50,000 samples  GiB on 1, 8"
    )
    for name in FILES:
        built = config.load([f"gin/{name}.gin"])
        batch, steps, chain = (built.value(key) for key in ("BATCH_SIZE", "NUM_STEPS", "LANGEVIN_STEPS"))
        cost = costs(built)
        step = chain * cost.chain + cost.learning
        sample = cost.levels * (chain * cost.chain + cost.proposal)
        seconds = step * batch / rate
        hours, minutes = seconds * steps / 3600, 5e4 * sample / rate / 60
        memory = [(6 * cost.weights + cost.kept * batch / devices) / 2**30 for devices in (1, 8)]
        print(
            f"{name:<24} {cost.forward / 1e9:>19.2f} {step / 1e9:>6.1f} {sample / 1e9:>7.0f} | {batch:>5}"
            f" {seconds:>7.3f} {hours:>6.0f} {hours / 8:>5.0f} {minutes:>12.1f}"
            f" {memory[0]:>20.0f} {memory[1]:>4.0f}"
        )


@dataclass(frozen=True)
class Costs:
    """Of an image, in operations: E forward; E and its gradient in y; learning from y⁺ and y⁻, or from noise;
    one proposal. How many of these a sample takes.

    In bytes: the networks' weights; what autograd keeps of an image while they learn, in float32.
    """

    forward: int
    chain: int
    learning: int
    proposal: int
    weights: int
    kept: int
    levels: int


def costs(built: config.Config) -> Costs:
    """What a configuration's networks cost."""
    by_regression = is_bound(built, "OneEnergy.energy")
    method = "OneEnergy" if by_regression else "RecoveryLikelihood"
    with torch.device("meta"):
        energy: Energy = built.value(f"{method}.energy")
        initializer: Initializer = built.value(f"{method}.initializer")
        y = torch.zeros(1, *energy.shape)
    transition = _transition(1)
    bound = energy.at(transition)
    networks = (energy, initializer)

    def learn(y: Tensor, transition: Transition) -> None:
        if by_regression:
            energy.slopes(y, transition.logsnr_t).in_x.square().sum().backward()
        else:
            _learn(energy, initializer, y, transition)

    def kept(images: int) -> int:
        several = torch.cat([y] * images)
        return _kept(networks, lambda: learn(several, _transition(images)))

    def propose() -> object:
        # T1k's step is a gradient of the energy
        return energy_and_grad(bound, y) if by_regression else initializer.mean(y, transition)

    return Costs(
        _count(lambda: bound(y)),
        _count(lambda: energy_and_grad(bound, y)),
        _count(lambda: learn(y, transition)),
        _count(propose),
        sum(p.numel() * p.element_size() for network in networks for p in network.parameters()),
        # what two images add to one: normalized weights are kept once
        kept(2) - kept(1),
        T1K_LEVELS if by_regression else LEVELS,
    )


def _transition(images: int) -> Transition:
    transition = CosineSchedule(LEVELS).transition(torch.ones(images, dtype=torch.int64))
    return transition.map(lambda values: values.to("meta"))


def _learn(energy: Energy, initializer: Initializer, y: Tensor, transition: Transition) -> None:
    both = torch.cat([y, y])
    loss = energy(both, transition.map(lambda v: torch.cat([v, v]))).sum()
    mean = initializer.mean(y, transition)
    (loss + mean.sum()).backward()


def _count(function: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def _kept(networks: tuple[nn.Module, ...], function: Callable[[], object]) -> int:
    """Bytes of what autograd saves for backward, each storage once, weights left out."""
    weights = {p.untyped_storage()._cdata for network in networks for p in network.parameters()}
    found: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        if value.untyped_storage()._cdata not in weights:
            found[value.untyped_storage()._cdata] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        function()
    return sum(value.untyped_storage().nbytes() for value in found.values())


if __name__ == "__main__":
    main()
