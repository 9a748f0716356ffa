"""Hamiltonian Monte Carlo."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.core.checks import check_integer, check_number
from modules.samplers.metropolis import MetropolisSampler


@gin.register
class Hamiltonian(MetropolisSampler):
    """L leapfrog steps a proposal, with a fresh momentum (Neal 2011), see MetropolisSampler.

    Args:
        num_leapfrog: L; each costs a gradient.
        jitter: j, each step's size is h times a number even in [1-j, 1+j], so that no period of the motion is
            a multiple of all trajectories.
    """

    def __init__(
        self,
        num_steps: int = 5,
        num_leapfrog: int = 5,
        step_factor: float = 1.0,
        jitter: float = 0.2,
        num_warmup: int = 0,
        target: float = 0.8,
    ) -> None:
        super().__init__(num_steps, step_factor, num_warmup, target)
        check_integer("Hamiltonian.num_leapfrog", num_leapfrog, low=1)
        check_number("Hamiltonian.jitter", jitter, low=0, below=1)
        self.num_leapfrog, self.jitter = num_leapfrog, jitter

    def persistence(self, factor: Tensor) -> Tensor:
        """0: a fresh momentum a trajectory."""
        return torch.zeros_like(factor)
