"""What a training method is: the networks, and a training step up to the losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from modules.core.checks import check_instance
from modules.core.types import Batch, Chain, LossOutput, NoiseSource, Transition
from modules.data.base import Examples
from modules.energies.base import Energy
from modules.initializers.base import Initializer
from modules.methods.networks import Networks
from modules.methods.shown import Panel
from modules.schedules.base import Schedule


class Method(nn.Module, ABC):
    """A module over the networks whose forward is the training step up to the losses.

    Args:
        energy, initializer: the networks; one without parameters (a copy, an oracle) is not trained.
        schedule: the ladder they are trained on.

    Attributes:
        shared_noise: whether x_s and x_t of a training pair have one ε (spec §5).
        averages: of the networks' weights as training goes, by name; empty where nobody keeps any.
        panels: of the curves, beside those of every run; what is watched and in no panel gets one of its own.
        bar: figures that the progress bar shows before the losses, where there are any.
        bounded: how the names of watched energies begin, whose mean size a guard bounds.
    """

    shared_noise = False
    panels: ClassVar[tuple[Panel, ...]] = ()
    bar: ClassVar[tuple[str, ...]] = ("energy_positive", "energy_negative", "gap")
    bounded: ClassVar[tuple[str, ...]] = ("energy",)

    def __init__(self, energy: Energy, initializer: Initializer, schedule: Schedule) -> None:
        super().__init__()
        name = type(self).__name__
        check_instance(f"{name}.energy", energy, Energy)
        check_instance(f"{name}.initializer", initializer, Initializer)
        check_instance(f"{name}.schedule", schedule, Schedule)
        self.energy, self.initializer, self.schedule = energy, initializer, schedule
        self.averages: Mapping[str, nn.Module] = {}  # not this module's own to save or train

    def networks(self) -> dict[str, nn.Module]:
        """The networks that learn, by the names that losses and optimizers use."""
        both = {"energy": self.energy, "initializer": self.initializer}
        return {name: n for name, n in both.items() if any(True for _ in n.parameters())}

    def models(self, averages: Mapping[str, nn.Module] | None = None) -> Networks:
        """What is sampled from: averaged weights where there are any."""
        found = averages or {}
        energy = found.get("energy", self.energy)
        initializer = found.get("initializer", self.initializer)
        assert isinstance(energy, Energy) and isinstance(initializer, Initializer)
        return Networks(energy, initializer, self.schedule)

    def complete(self, networks: Mapping[str, nn.Module], examples: Examples, device: torch.device) -> None:
        """Set what networks as they are now know of the data, before they are saved; most know nothing.

        Args:
            networks: the trained ones, live or averaged, by name.
        """
        return

    def begin_step(self, step: int) -> None:
        """Prepare optimizer step `step` (0, 1, ...): what all its micro-batches share; most often nothing.

        A forward before any is one of step 0.
        """
        return

    def start_chains(
        self, proposal: Tensor, x_t: Tensor, transition: Transition, label: Tensor | None, noise: NoiseSource
    ) -> Tensor:
        """Where the chains of a training step begin, y⁰ (b, *shape), detached: at the initializer's proposal.

        A hook for methods that begin elsewhere, such as at the ends of earlier chains.

        Args:
            proposal: g + noise, in the coordinates of y. x_t: what the chains are conditioned on.
            label: (b,), those hidden for guidance as -1; None: a network without labels.
        """
        return proposal.detach()

    def end_chains(self, chain: Chain, x_t: Tensor, transition: Transition, label: Tensor | None) -> None:
        """What is to be remembered of a training step's chains; most methods forget them."""
        return

    @abstractmethod
    def forward(self, batch: Batch, noise: NoiseSource) -> LossOutput:
        """The losses of one micro-batch, one scalar per network that learns from it."""
