"""The plain reference that speed is measured against: what the published training loop does, in its order.

Weights are normalized and the level embedded at every evaluation; parameters stay in the graph of a chain's
gradient; positives and negatives are two evaluations; the U-Net's graph lives through the chain; memory is
NCHW; optimizers and averages work parameter by parameter; noise comes from torch's generator. It computes
the library's own numbers (tests/benchmarks/test_plain.py), from the same modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.energies.mlp import MLPEnergy
from modules.energies.resnet import CooperativeResNet
from modules.layers.embeddings import logsnr_position
from modules.layers.film import FilmDenseBlock
from modules.layers.residual import AverageDownsample, ResidualBlock
from modules.layers.spectral import power_iterate
from modules.methods.recovery import RecoveryLikelihood
from modules.samplers.langevin import Langevin
from modules.schedules.forward import marginal

PlainEnergy = Callable[[Tensor, Transition, "Tensor | None"], Tensor]


def plain(energy: Energy) -> PlainEnergy:
    """y, transition, label -> E (b,), every layer in turn."""
    evaluate = {CooperativeResNet: _resnet, MLPEnergy: _mlp}[type(energy)]
    return lambda y, transition, label=None: evaluate(energy, y, transition, label)


def _resnet(energy: CooperativeResNet, y: Tensor, transition: Transition, label: Tensor | None) -> Tensor:
    act = energy.activation
    embedding = _embed(energy, transition, label)
    h = energy.stem(y)
    for stage in energy.stages:
        if isinstance(stage, AverageDownsample):
            h = F.avg_pool2d(h, 2)
            continue
        block = cast(ResidualBlock, stage)
        z = block.conv1(act(h))
        z = z + act(block.time(act(embedding)))[:, :, None, None]
        z = block.conv2(act(z)) * block.gain[:, None, None]
        h = z + (h if block.shortcut is None else block.shortcut(h))
    return -(energy.final_activation(h).sum((2, 3)) * energy.head(act(embedding))).sum(1)


def _mlp(energy: MLPEnergy, y: Tensor, transition: Transition, label: Tensor | None) -> Tensor:
    act = energy.activation
    embedding = _embed(energy, transition, label)
    y = y.flatten(1)
    waves = [2.0**k * math.pi * y for k in range(energy.num_frequencies)]
    h = energy.stem(torch.cat([y, *(w.sin() for w in waves), *(w.cos() for w in waves)], 1))
    for stage in energy.blocks:
        block = cast(FilmDenseBlock, stage)
        scale, shift = block.film(act(embedding)).chunk(2, dim=1)
        h = h + block.dense2(act(block.dense1(act(h)) * (1 + scale) + shift))
    return -(act(h) * energy.head(act(embedding))).sum(1)


def _embed(energy: CooperativeResNet | MLPEnergy, transition: Transition, label: Tensor | None) -> Tensor:
    return energy.embedding(logsnr_position(transition.logsnr_s), label)


def plain_chain(
    energy: PlainEnergy, transition: Transition, x_t: Tensor, y: Tensor, label: Tensor | None, num_steps: int
) -> Tensor:
    """K Langevin steps from y (b, ...), spec §3 with m = η = 1, on p(y | x_t)."""
    y = y.detach()
    step = expand_as(transition.step_size, y)
    for _ in range(num_steps):
        y = y.detach().requires_grad_()
        value = energy(y, transition, label).sum()
        (slope,) = torch.autograd.grad(value, y)
        with torch.no_grad():
            tether = (y - x_t) / expand_as(transition.sigma_ts, y) ** 2
            tether = torch.where(expand_as(transition.is_top, y), torch.zeros_like(tether), tether)
            grad = slope / expand_as(transition.energy_scale, y) + tether
            y = y - 0.5 * step**2 * grad + step * torch.randn_like(y)
    return y.detach()


class PlainTraining:
    """One optimizer step of CDRL as published (spec §5), with the learning rates of Adam and AdamW there."""

    def __init__(self, method: RecoveryLikelihood, decay: float = 0.9999) -> None:
        self.method, self.decay = method, decay
        self.energy = plain(method.energy)
        self.optimizers = {
            name: torch.optim.AdamW(network.parameters(), 1e-4, weight_decay=0.0, foreach=False, fused=False)
            for name, network in method.networks().items()
        }
        self.averages = {
            name: [p.detach().clone() for p in network.parameters()]
            for name, network in method.networks().items()
        }

    def step(self, x: Tensor, label: Tensor | None = None) -> None:
        """Learn from clean data x (b, ...)."""
        method = self.method
        schedule, sampler = method.schedule, cast(Langevin, method.sampler)
        t = torch.randint(1, schedule.num_levels + 1, (len(x),), device=x.device)
        transition = schedule.transition(t, x.dtype)
        eps = torch.randn_like(x)
        x_s = marginal(x, transition.alpha_s, transition.sigma_s, eps)
        x_t = marginal(x, transition.alpha_t, transition.sigma_t, eps)
        power_iterate(method.energy)

        proposal = method.initializer.mean(x_t, transition, label)
        spread = expand_as(method.initializer.spread(transition), x)
        proposal = proposal + spread * torch.randn_like(x)
        y_neg = plain_chain(self.energy, transition, x_t, proposal, label, sampler.num_steps)
        y_pos = expand_as(transition.y_scale, x_s) * x_s
        positive = self.energy(y_pos, transition, label)
        negative = self.energy(y_neg, transition, label)
        (transition.loss_weight * (positive - negative)).mean().backward()
        if "initializer" in self.optimizers:
            sum_per_sample((y_neg - proposal) ** 2).mean().backward()
        for name, network in method.networks().items():
            parameters = list(network.parameters())
            torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=False)
            self.optimizers[name].step()
            self.optimizers[name].zero_grad()
            self._average(self.averages[name], parameters)

    @torch.no_grad()
    def _average(self, averages: list[Tensor], parameters: Iterable[nn.Parameter]) -> None:
        for mean, live in zip(averages, parameters, strict=True):
            mean.mul_(self.decay).add_((1 - self.decay) * live)


@torch.no_grad()
def plain_samples(method: RecoveryLikelihood, num: int, num_steps: int, device: torch.device) -> Tensor:
    """The walk down the levels, without the denoising step: (num, *shape)."""
    energy, schedule = plain(method.energy), method.schedule
    x = torch.randn(num, *method.energy.shape, device=device)
    for level in range(schedule.num_levels, 0, -1):
        transition = schedule.transition(torch.full((num,), level, device=device))
        y = method.initializer.mean(x, transition, None)
        y = y + expand_as(method.initializer.spread(transition), y) * torch.randn_like(y)
        with torch.enable_grad():
            y = plain_chain(energy, transition, x, y, None, num_steps)
        x = y / expand_as(transition.y_scale, y)
    return x
