"""What every sampler is: a pure function of a potential, a start and noise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from modules.core.arguments import arguments_of
from modules.core.checks import ConfigurationError, check_integer, one_line
from modules.core.types import Chain, NoiseSource, Potential, Transition


class Sampler(ABC):
    """A Markov chain whose stationary law is, nearly or exactly, exp(-U). A subclass needs `sample` alone.

    Attributes:
        num_steps: K, an argument of the constructor under this name; None: there is no number of steps.
    """

    num_steps: int | None = None

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

    def at(self, transition: Transition) -> Sampler:
        """This sampler for chains of these level pairs, one entry per sample; most don't look at levels.

        Asked for before every chain on a transition, in training and in sampling. One that goes otherwise at
        the last level (t = 1), or adapts its steps level by level, gives a copy that knows where it is.
        """
        return self

    def with_steps(self, num_steps: int, lengthen: bool = False) -> Sampler:
        """This sampler with K = num_steps and the state it has, made anew by its constructor.

        Args:
            lengthen: for so few steps a level may want longer ones; one that knows how much gives them.

        Raises:
            ConfigurationError: K below 0, or a sampler without a number of steps.
        """
        check_integer("steps", num_steps, low=0)
        name = type(self).__name__
        arguments = arguments_of(self, "it can't be made with another number of steps")
        if "num_steps" not in arguments:
            raise ConfigurationError(
                f"{name} has no number of steps to be changed: let its constructor take num_steps, or "
                "override with_steps"
            )
        other = type(self)(**arguments | {"num_steps": num_steps})
        try:
            if isinstance(self, nn.Module) and isinstance(other, nn.Module):
                other.load_state_dict(self.state_dict(), assign=True)
            elif hasattr(self, "state_dict") and hasattr(other, "load_state_dict"):
                other.load_state_dict(self.state_dict())
        except Exception as fault:  # a user's code, which may fail by anything
            raise ConfigurationError(
                f"{name} with {num_steps} steps can't take its state over: override with_steps "
                f"({one_line(fault)})"
            ) from fault
        return other

    def untied(self) -> Sampler:
        """This sampler for a level's marginal, wider in places than the conditionals that it was set for."""
        return self

    def settled(self) -> Sampler:
        """This sampler without a warm-up, to go on from a chain of its own at its step size."""
        return self
