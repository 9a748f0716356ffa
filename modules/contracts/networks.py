"""The contracts of energies, initializers, guidances and samplers, looked at on a few rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from modules.contracts.faults import calling, check_finite, check_tensor, told, what
from modules.contracts.parts import name_of_own
from modules.core.noise import Noise
from modules.core.tensors import expand_as, rms_per_sample
from modules.core.types import Chain, EnergyFn, Transition
from modules.energies.base import Energy
from modules.energies.recovery import RecoveryPotential, energy_and_grad
from modules.guidance.base import Guidance
from modules.guidance.none import NoGuidance
from modules.guidance.proposal import proposal_mean
from modules.initializers.base import Initializer
from modules.losses.levels import LevelLaw
from modules.samplers.base import Sampler
from modules.schedules.score import ScoreSchedule

_NEAR = 0.05  # of what is computed twice, in any precision


@contextmanager
def untouched(*networks: nn.Module) -> Iterator[None]:
    """Networks in eval mode inside; modes and buffers are afterwards as they were."""
    modes = {module: module.training for network in networks for module in network.modules()}
    buffers = [(b, b.clone()) for network in networks for b in network.buffers()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def check_energy(
    energy: Energy, x: Tensor, transition: Transition, label: Tensor | None, fresh: bool
) -> None:
    """E (b,), ∇E shaped like x, rows that don't know each other, `at` as forward; finite where `fresh`."""
    name, num = name_of_own(energy), len(x)
    with calling():  # with its graph: it may be one that asks autograd itself
        values = energy(x, transition, label)
    check_tensor(f"{name}.forward", values, (num,))
    values = values.detach()
    if fresh:
        check_finite(f"{name}.forward", values)
    _check_bound(f"{name}.at", lambda: energy.at(transition, label), x)
    with calling():
        again = energy.at(transition, label)(x).detach()
        alone = energy(x[:1], transition.map(lambda v: v[:1]), None if label is None else label[:1]).detach()
    if values.isfinite().all():
        if _far(again, values):
            raise told(f"{name}.at", f"E = {float(again[0]):.4g}", f"forward's {float(values[0]):.4g}")
        if _far(alone, values[:1]):
            raise told(
                f"{name}.forward",
                f"E = {float(values[0]):.4g} of a sample beside others, {float(alone[0]):.4g} alone",
                "the same: samples must not mix",
            )


def _check_bound(who: str, bind: object, x: Tensor) -> None:
    """Raise unless what `bind()` gives is an EnergyFn."""
    with calling():
        bound: EnergyFn = bind()  # type: ignore[operator]
        if not callable(bound):
            raise told(who, what(bound), "a function of y")
        values, slope = energy_and_grad(bound, x)
    check_tensor(f"{who}(y)", values, (len(x),))
    check_tensor(f"{who}(y)'s gradient", slope, tuple(x.shape))


def check_initializer(
    initializer: Initializer, energy: Energy, x: Tensor, transition: Transition, label: Tensor, fresh: bool
) -> None:
    """Mean and proposal shaped like x, spread (b,)."""
    name, noise = name_of_own(initializer), _noise(x)
    with torch.no_grad(), calling():
        mean = proposal_mean(NoGuidance(), energy, initializer, x, transition, label)
    check_tensor(f"{name}.mean", mean, tuple(x.shape))
    if fresh:
        check_finite(f"{name}.mean", mean)
    with torch.no_grad(), calling():
        spread, proposal = initializer.spread(transition), initializer.propose(mean, transition, noise)
    check_tensor(f"{name}.spread", spread, (len(x),))
    check_tensor(f"{name}.propose", proposal, tuple(x.shape))


def check_guidance(
    guidance: Guidance, energy: Energy, initializer: Initializer, x: Tensor, c: Transition, label: Tensor
) -> None:
    """A guided energy (b,), differentiable in y, and a mean shaped like x."""
    name = type(guidance).__name__
    _check_bound(f"{name}.energy", lambda: guidance.energy(energy, c, label), x)
    with torch.no_grad(), calling():
        mean = proposal_mean(guidance, energy, initializer, x, c, label)
    check_tensor(f"{name}.mean", mean, tuple(x.shape))


def check_sampler(
    sampler: Sampler, energy: Energy, x: Tensor, transition: Transition, label: Tensor | None
) -> None:
    """A Chain: y like x and detached, figures (b,), displacement the rms; what isn't free stays."""
    name, start = type(sampler).__name__, x.clone()
    potential = RecoveryPotential(energy.at(transition, label), transition, x)
    for free in (None, torch.zeros_like(x)):
        with calling():
            # a copy: one that adapts has learnt nothing yet
            copied = copy.deepcopy(sampler).at(transition)
            if not isinstance(copied, Sampler):
                raise told(f"{name}.at", what(copied), "a Sampler: itself, or a copy that knows the level")
            chain = copied.sample(potential, x, transition.step_size, _noise(x), free)
        who = f"{name}.sample"
        if not isinstance(chain, Chain):
            raise told(who, what(chain), "a Chain")
        check_tensor(f"{who}'s y", chain.y, tuple(x.shape), x.dtype)
        figures = {"grad_norm": chain.grad_norm, "displacement": chain.displacement}
        further = {"acceptance": chain.acceptance, "step_size": chain.step_size}
        further |= {f"figures[{key!r}]": value for key, value in chain.figures.items()}
        figures |= {key: value for key, value in further.items() if value is not None}
        for name_of, figure in figures.items():
            check_tensor(f"{who}'s {name_of}", figure, (len(x),))
        if chain.y.requires_grad:
            raise told(f"{who}'s y", "values that carry gradients", "detached ones")
        if not torch.equal(x, start):
            raise told(who, "another start, changed in place", "a new y")
        moved = rms_per_sample(chain.y - start)
        if free is None and moved.isfinite().all() and _far(chain.displacement, moved):
            raise told(
                f"{who}'s displacement",
                f"{float(chain.displacement[0]):.4g}",
                f"the root-mean-square of y - y⁰, {float(moved[0]):.4g}: rms_per_sample",
            )
        if free is not None and not torch.equal(chain.y, start):
            raise told(who, "other y where free is 0", "y as it was given there: multiply each move by free")


def check_level_law(law: LevelLaw, schedule: ScoreSchedule, x: Tensor) -> None:
    """λ (b,), between the ladder's ends."""
    with calling():
        logsnr = law.draw(schedule, _noise(x))
    who = f"{type(law).__name__}.draw"
    check_tensor(who, logsnr, (len(x),))
    check_finite(who, logsnr)
    low, high = float(logsnr.min()), float(logsnr.max())
    if low < schedule.logsnr_min - _NEAR or high > schedule.logsnr_max + _NEAR:
        raise told(
            who, f"λ from {low:.3g} to {high:.3g}", f"{schedule.logsnr_min:g} to {schedule.logsnr_max:g}"
        )


def _noise(x: Tensor) -> Noise:
    rows = torch.arange(len(x), device=x.device)
    return Noise(0, rows, stream="contract", dtype=x.dtype)


def _far(one: Tensor, other: Tensor) -> bool:
    one, other = one.detach().float(), other.detach().float()
    return bool((one - other).abs().max() > _NEAR * other.abs().max().clamp(min=1e-3))


def noisy(x: Tensor, transition: Transition) -> Tensor:
    """x_t of clean x, by a noise of its own."""
    eps = _noise(x).normal("eps", tuple(x.shape[1:]))
    return expand_as(transition.alpha_t, x) * x + expand_as(transition.sigma_t, x) * eps
