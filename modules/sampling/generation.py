"""The walk down the levels, from noise to data (spec §6)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import gin
import torch
from torch import Tensor

from modules.core.checks import (
    ConfigurationError,
    check_choice,
    check_instance,
    check_integer,
    check_number,
)
from modules.core.tensors import expand_as
from modules.core.types import Chain, NoiseSource, Potential, Transition
from modules.energies.recovery import RecoveryPotential, energy_and_grad
from modules.guidance.base import Guidance
from modules.guidance.none import NoGuidance
from modules.guidance.proposal import proposal_mean
from modules.methods.networks import Networks
from modules.samplers.base import Sampler
from modules.sampling.draw import Draw
from modules.sampling.inpainting import Inpainting, Known
from modules.sampling.measuring import Measured


@dataclass(frozen=True)
class Sampled:
    """One walk: x (b, ...) the denoised end, and levels, x_T first and x_0 last."""

    x: Tensor
    levels: list[Tensor]


QUALITIES = ("fast", "default", "best")
"""By name: fewer evaluations, as the run is configured, and the least distance to data."""


@gin.register
class Generation:
    """Samples from trained networks: x_T ~ N(0, I), then proposal and chain per level, then denoising.

    Args:
        sampler: the chain at each level.
        guidance: how labels enter.
        denoise_factor: r of the last step (spec §6): 0 none, 1 Tweedie's formula, 2 as CDRL published.
        inpainting: which way known pixels go; None: a run's own way, of its method's shared or independent
            noises, and outside a run with shared noise.
        qualities: "fast" and "best" -> (T, K), levels and chain steps of each, for energies that know all
            levels: the ends of the knee of quality against evaluations T (1 + K), beside the run's own.
    """

    _watch: Callable[[Transition, Chain], None] | None = None

    def __init__(
        self,
        sampler: Sampler,
        guidance: Guidance | None = None,
        denoise_factor: float = 1.0,
        inpainting: Inpainting | None = None,
        qualities: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        check_instance("Generation.sampler", sampler, Sampler)
        check_instance("Generation.guidance", guidance, (Guidance, type(None)))
        check_number("Generation.denoise_factor", denoise_factor, low=0)
        check_instance("Generation.inpainting", inpainting, (Inpainting, type(None)))
        self.sampler = sampler
        self.guidance = guidance or NoGuidance()
        self.denoise_factor = denoise_factor
        self.inpainting = inpainting
        self.qualities = qualities
        check_instance("Generation.qualities", qualities, (Mapping, type(None)))
        for name, pair in (qualities or {}).items():
            check_choice("Generation.qualities' names", name, ("fast", "best"))
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ConfigurationError(
                    f"Generation.qualities[{name!r}] must be (levels, chain steps), got {pair!r}"
                )
            check_integer(f"Generation.qualities[{name!r}]'s levels", pair[0], low=1)
            check_integer(f"Generation.qualities[{name!r}]'s chain steps", pair[1], low=0)

    def watched(self, watch: Callable[[Transition, Chain], None]) -> Generation:
        """This generation, which tells of every chain on its way, at its transition."""
        other = copy.copy(self)
        other._watch = watch
        return other

    def sample(self, networks: Networks, draw: Draw) -> Sampled:
        """The samples x (b, *shape) of a Draw of b."""
        levels = list(self.walk(networks, draw))
        return Sampled(self.denoise(networks, levels[-1], draw.labels, draw.known), levels)

    @torch.no_grad()
    def walk(self, networks: Networks, draw: Draw) -> Iterator[Tensor]:
        """x_T (or the start), x_{T-1}, ..., x_0, each (b, *shape)."""
        energy, schedule = networks.energy, networks.schedule
        label, noise, start, known = draw.labels, draw.noise, draw.start, draw.known
        top = start.level if start else schedule.num_levels
        x = start.x if start else noise.normal("x_T", energy.shape)
        way = self.inpainting or Inpainting()
        path = way.path(known.image, schedule, noise) if known else []
        if known:
            x = known.keep(path[top], x)
        yield x
        for level in range(top, 0, -1):
            transition = schedule.transition(torch.full_like(label, level), x.dtype)
            known_s = Known(path[level - 1], known.mask) if known else None
            x = self.descend(
                networks,
                transition,
                x,
                label,
                noise.child(f"level {level}"),
                known_s,
                draw.measured,
            )
            yield x

    def descend(
        self,
        networks: Networks,
        transition: Transition,
        x_t: Tensor,
        label: Tensor,
        noise: NoiseSource,
        known_s: Known | None = None,
        measured: Measured | None = None,
    ) -> Tensor:
        """One level: x_t -> x_s; `known_s` holds pixels of x_s that are given, `measured` what chains fit."""
        energy, initializer = networks.energy, networks.initializer
        mean = proposal_mean(self.guidance, energy, initializer, x_t, transition, label)
        y = initializer.propose(mean, transition, noise)
        bound = self.guidance.energy(energy, transition, label)
        potential: Potential = RecoveryPotential(bound, transition, x_t)
        potential = measured.tie(potential, transition) if measured else potential
        scale, free = expand_as(transition.y_scale, y), None
        if known_s:
            y, free = known_s.keep(scale * known_s.image, y), (~known_s.mask).to(y.dtype)
        sampler = self.sampler.at(transition)
        chain = sampler.sample(potential, y, transition.step_size, noise, free)
        if self._watch is not None:
            self._watch(transition, chain)
        x_s = chain.y / scale
        return known_s.keep(known_s.image, x_s) if known_s else x_s

    @torch.no_grad()
    def settle(self, networks: Networks, sampler: Sampler, x_0: Tensor, draw: Draw) -> Tensor:
        """x_0 (b, *shape) after a chain on the density of level 0 itself, tied to what is measured alone.

        With an exact sampler and steps enough it is a draw of p(x_0 | b), however it was found.
        """
        first = networks.schedule.transition(torch.ones_like(draw.labels), x_0.dtype)
        untied = dataclasses.replace(first, is_top=torch.ones_like(first.is_top))
        bound = self.guidance.energy(networks.energy, first, draw.labels)
        potential: Potential = RecoveryPotential(bound, untied, x_0)
        potential = draw.measured.tie(potential, first) if draw.measured else potential
        scale, free = expand_as(first.y_scale, x_0), None
        if draw.known:
            free = (~draw.known.mask).to(x_0.dtype)
        noise = draw.noise.child("settling")
        return (
            sampler.untied().at(first).sample(potential, scale * x_0, first.step_size, noise, free).y / scale
        )

    def denoise(self, networks: Networks, x_0: Tensor, label: Tensor, known: Known | None = None) -> Tensor:
        """x̂ = (x_0 + r σ̄_0² ∇[f(y_scale x_0)/s_1²]) / √ᾱ_0, ∇ in x_0 (spec §6); what is known, as it is."""
        first = networks.schedule.transition(torch.ones_like(label), x_0.dtype)
        if self.denoise_factor > 0:
            scale = expand_as(first.y_scale, x_0)
            _, slope = energy_and_grad(self.guidance.energy(networks.energy, first, label), scale * x_0)
            score = -slope * scale / expand_as(first.energy_scale, x_0)
            x_0 = x_0 + self.denoise_factor * expand_as(first.sigma_s**2, x_0) * score
        x = x_0 / expand_as(first.alpha_s, x_0)
        return known.keep(known.image, x) if known else x
