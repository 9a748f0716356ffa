"""What every sampler is: a pure function of a potential, a start and noise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from modules.core.types import Chain, NoiseSource, Potential


class Sampler(ABC):
    """A Markov chain whose stationary law is, nearly or exactly, exp(-U)."""

    @abstractmethod
    def sample(
        self,
        potential: Potential,
        y: Tensor,
        step_size: Tensor,
        noise: NoiseSource,
        free: Tensor | None = None,
    ) -> Chain:
        """Run the chain.

        Args:
            potential: U; its gradient is taken in y only.
            y: (b, ...), the start.
            step_size: (b,), s_t of the transition.
            noise: source of the chain's random numbers.
            free: broadcastable to y, 1 where y may move and 0 where it is given; None: all free.

        Returns:
            The Chain, detached.
        """

    def settled(self) -> Sampler:
        """This sampler without a warm-up, to go on from a chain of its own at its step size."""
        return self
