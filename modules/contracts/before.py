"""What is looked at before the first step of training and before the first sample is drawn.

Components of the project's own are left out: its tests keep their contracts, and they cost no time here.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from modules.contracts.networks import (
    check_energy,
    check_guidance,
    check_initializer,
    check_level_law,
    check_sampler,
    noisy,
    untouched,
)
from modules.contracts.parts import is_own, own_modules, parts
from modules.contracts.signatures import check_signatures
from modules.core.checks import ConfigurationError
from modules.core.types import Transition
from modules.energies.base import Energy
from modules.losses.levels import LevelLaw
from modules.methods.base import Method
from modules.methods.networks import Networks
from modules.runtime.runtime import Runtime
from modules.samplers.base import Sampler
from modules.sampling.generation import Generation
from modules.schedules.score import ScoreSchedule

_ROWS = 4


def check_training(
    method: Method,
    generation: Generation,
    rows: tuple[Tensor, Tensor],
    runtime: Runtime,
    dtype: torch.dtype = torch.float32,
    fresh: bool = True,
    others: Iterable[object] = (),
) -> None:
    """Raise unless what is a user's own keeps its contract, on rows of the data.

    Args:
        rows: of the data, as check_rows gives them.
        fresh: the networks are at their start, where all they give must be finite.
        others: further components, such as optimizers, whose signatures are looked at.

    Raises:
        ConfigurationError: one line, with the class, what it gave and what it must give.
    """
    for component in (method, generation, *others):
        check_signatures(component)
    images, labels = rows
    _check_learnt(method)
    x, label = images[:_ROWS].to(runtime.device, dtype), labels[:_ROWS, 0].to(runtime.device)
    if method.energy.num_classes == 0:
        label = torch.full_like(label, -1)
    if isinstance(method.schedule, ScoreSchedule):
        for law in (part for part in parts(method) if isinstance(part, LevelLaw) and is_own(part)):
            check_level_law(law, method.schedule, x)
    samplers = [part for part in parts(method) if isinstance(part, Sampler)]
    _check_networks(method.models(), generation, samplers, x, label, runtime, fresh)


def check_sampling(generation: Generation, networks: Networks, runtime: Runtime) -> None:
    """Raise unless what is a user's own keeps its contract, on rows of noise."""
    energy = networks.energy
    for component in (generation, energy, networks.initializer):
        check_signatures(component)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS, *energy.shape, generator=generator).to(runtime.device)
    label = torch.full((_ROWS,), -1, device=runtime.device)
    _check_networks(networks, generation, [], x, label, runtime, fresh=False)


def _check_networks(
    networks: Networks,
    generation: Generation,
    samplers: list[Sampler],
    x: Tensor,
    label: Tensor,
    runtime: Runtime,
    fresh: bool,
) -> None:
    energy, initializer, schedule = networks.energy, networks.initializer, networks.schedule
    energies = [part for part in parts(energy) if isinstance(part, Energy) and own_modules(part)]
    energies.sort(key=lambda part: not is_own(part))  # a fault is told of the innermost that is a user's
    chains = [s for s in (*samplers, generation.sampler) if is_own(s)]
    own_initializer, own_guidance = bool(own_modules(initializer)), is_own(generation.guidance)
    if not (energies or chains or own_initializer or own_guidance):
        return
    t = torch.linspace(1, schedule.num_levels, len(x)).round().long().to(x.device)
    c: Transition = schedule.transition(t, x.dtype)
    x_t = noisy(x, c)
    given = None if energy.num_classes == 0 else label
    with runtime.autocast(), untouched(energy, initializer):
        for part in energies:
            check_energy(part, x_t, c, given, fresh)
        if own_initializer:
            check_initializer(initializer, energy, x_t, c, label, fresh)
        if own_guidance:
            check_guidance(generation.guidance, energy, initializer, x_t, c, label)
        for chain in {id(s): s for s in chains}.values():
            check_sampler(chain, energy, x_t, c, given)


def _check_learnt(method: Method) -> None:
    """Raise for parameters that would learn, and are in none of the networks that do."""
    learnt = {id(p) for network in method.networks().values() for p in network.parameters()}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad and id(parameter) not in learnt:
            raise ConfigurationError(
                f"{type(method).__name__} has a parameter {name} in none of its networks, which nothing "
                "trains: give it in networks(), or requires_grad_(False)"
            )
