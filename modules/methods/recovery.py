"""Diffusion recovery likelihood, alone (DRL) or cooperative (CDRL): the training step (spec §5)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gin
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from modules.core.checks import (
    Check,
    ConfigurationError,
    check_attributes,
    check_bool,
    check_callable,
    check_compiler,
    check_instance,
    check_number,
    optional,
)
from modules.core.tensors import expand_as
from modules.core.types import Batch, LossOutput, NoiseSource, Transition
from modules.energies.base import Energy
from modules.energies.recovery import RecoveryPotential
from modules.initializers.base import Initializer
from modules.layers.spectral import power_iterate
from modules.losses.cooperative import CooperativeLoss, WarmStart
from modules.losses.likelihood import RecoveryLikelihoodLoss
from modules.methods.base import Method
from modules.methods.shown import first_rows
from modules.samplers.base import Sampler
from modules.schedules.base import Schedule
from modules.schedules.forward import independent_pair, shared_noise_pair

_CHECKS: dict[str, Check] = {
    "sampler": partial(check_instance, kind=Sampler),
    "shared_noise": check_bool,
    "energy_loss": check_callable,
    "initializer_loss": check_callable,
    "warm_start": optional(partial(check_instance, kind=WarmStart)),
    "label_dropout": partial(check_number, low=0, high=1),
    "save_memory": check_bool,
    "average_revises": check_bool,
}


@gin.register
class RecoveryLikelihood(Method):
    """DRL with the copy initializer and independent noises, CDRL with a network and shared noise.

    Args:
        energy, initializer: the networks (a CopyInitializer learns nothing).
        schedule: the ladder.
        sampler: the chain from the proposal to the negative sample.
        shared_noise: CDRL's pair (x_s, x_t) with one ε, or DRL's with two (spec §5).
        energy_loss, initializer_loss: spec §5.
        warm_start: of the initializer; None as in the papers.
        average_revises: the initializer learns from a chain of its own, on the energy's averaged weights: a
            switch of the published code, off there too. One more chain a step. The average is that before
            the step's update, the published one that after it.
        label_dropout: probability with which a label is hidden, for classifier-free guidance (spec §7).
        save_memory: keep no activations for later: the initializer's and the energies' of y⁺ and y⁻, in two
            parts, are computed again in the backward pass. Same numbers, more time.
        compile: make one graph each (torch.compile) of the passes that are learnt from: the initializer's
            and, on a GPU, the energy's, which on a CPU is faster with one embedding a level. Takes a minute
            or more once a batch size, and a C++ compiler on a CPU. The chain's graph is Langevin.compile's.
    """

    def __init__(
        self,
        energy: Energy,
        initializer: Initializer,
        schedule: Schedule,
        sampler: Sampler,
        shared_noise: bool,
        energy_loss: RecoveryLikelihoodLoss | None = None,
        initializer_loss: CooperativeLoss | None = None,
        warm_start: WarmStart | None = None,
        label_dropout: float = 0.1,
        save_memory: bool = False,
        compile: bool = False,
        average_revises: bool = False,
    ) -> None:
        super().__init__(energy, initializer, schedule)
        self.sampler, self.shared_noise, self.label_dropout = sampler, shared_noise, label_dropout
        self.energy_loss = RecoveryLikelihoodLoss() if energy_loss is None else energy_loss
        self.initializer_loss = CooperativeLoss() if initializer_loss is None else initializer_loss
        self.warm_start, self.save_memory = warm_start, save_memory
        self.average_revises = average_revises
        check_attributes(self, _CHECKS)
        check_bool("RecoveryLikelihood.compile", compile)
        if compile:
            check_compiler("RecoveryLikelihood.compile")
        self.settings = {"compile": compile}  # torch's modules have a method of that name
        self._initializer_learns = "initializer" in self.networks()
        for name, wanted in (("warm_start", warm_start is not None), ("average_revises", average_revises)):
            if wanted and not self._initializer_learns:
                raise ConfigurationError(
                    f"RecoveryLikelihood.{name} needs an initializer that has parameters"
                )
        self._set_phase(0)
        passes = {"mean": initializer.mean, "energy": energy.forward} if compile else {}
        self._compiled = {name: torch.compile(run, dynamic=False) for name, run in passes.items()}

    def begin_step(self, step: int) -> None:
        """One power iteration of every spectral norm, before the positives; the phase of the warm start."""
        self._set_phase(step)
        if self._energy_learns:
            power_iterate(self.energy)

    def _set_phase(self, step: int) -> None:
        warm = self.warm_start
        self._warm = warm is not None and step < warm.num_steps
        self._energy_learns = warm is None or step >= warm.energy_start

    def forward(self, batch: Batch, noise: NoiseSource) -> LossOutput:
        """Losses of data (b, ...) at uniform t in 1..T (spec §5)."""
        x, label = batch.image, self._drop(batch.label, noise)
        t = noise.integers("t", 1, self.schedule.num_levels + 1)
        transition = self.schedule.transition(t, x.dtype)
        pair = shared_noise_pair if self.shared_noise else independent_pair
        x_s, x_t = pair(x, transition, noise)
        losses, watch = {}, {}

        # proposal y⁰ = g(x_t) + noise
        mean = self._graph(self._compiled.get("mean", self.initializer.mean), x_t, transition, label)
        proposal = self.initializer.propose(mean, transition, noise)
        start = self.start_chains(proposal, x_t, transition, label, noise)
        ends = {"proposals": start}
        if self.warm_start is not None and self._warm:
            losses["initializer"] = self.warm_start(mean, x, x_t, transition)

        if self._energy_learns:
            # y⁻: the chain on p(y | x_t) from the proposal; y⁺ = y_scale x_s
            potential = RecoveryPotential(self.energy.at(transition, label), transition, x_t)
            sampler = self.sampler.at(transition)
            chain = sampler.sample(potential, start, transition.step_size, noise)
            self.end_chains(chain, x_t, transition, label)
            y_pos = expand_as(transition.y_scale, x_s) * x_s
            positive, negative = self._energies(y_pos, chain.y, transition, label)

            losses["energy"] = self.energy_loss(positive, negative, transition)
            revised = chain.y
            if self._initializer_learns and not self._warm:
                if self.average_revises:
                    energy = self.models(self.averages).energy
                    potential = RecoveryPotential(energy.at(transition, label), transition, x_t)
                    own = noise.child("average")
                    revised = sampler.sample(potential, start, transition.step_size, own).y
                losses["initializer"] = self.initializer_loss(proposal, revised)
            watch = {
                **chain.watched(),
                "energy_positive": positive.detach(),
                "energy_negative": negative.detach(),
            }
            ends["revised"] = chain.y
        return LossOutput(losses, t, watch, first_rows(x_t, ends, x_s, transition))

    def _energies(
        self, y_pos: Tensor, y_neg: Tensor, transition: Transition, label: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """E(y⁺) and E(y⁻) (b,): from one evaluation of both, or, to save memory, from two."""
        energy = self._compiled.get("energy", self.energy) if y_pos.is_cuda else self.energy
        if self.save_memory:
            return (
                self._graph(energy, y_pos, transition, label),
                self._graph(energy, y_neg, transition, label),
            )
        labels = None if label is None else _twice(label)
        both = energy(torch.cat([y_pos, y_neg]), transition.map(_twice), labels)
        positive, negative = both.chunk(2)
        return positive, negative

    def _graph(
        self,
        network: Callable[[Tensor, Transition, Tensor | None], Tensor],
        x: Tensor,
        transition: Transition,
        label: Tensor | None,
    ) -> Tensor:
        """network(x, transition, label), its graph kept, or built again (dropout included) when wanted."""
        if self.save_memory:
            return checkpoint(network, x, transition, label, use_reentrant=False)
        return network(x, transition, label)

    def _drop(self, label: Tensor, noise: NoiseSource) -> Tensor | None:
        """Hide labels (b,) with probability label_dropout; None for networks without labels."""
        if self.energy.num_classes == 0:
            return None
        return torch.where(noise.uniform("label dropout") < self.label_dropout, -1, label)


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])
