"""Unadjusted Langevin dynamics (spec §3)."""

from __future__ import annotations

import gin
import torch
from torch import Tensor

from modules.checks import check_integer, check_number
from modules.samplers.base import Sampler
from modules.tensors import expand_as, norm_per_sample
from modules.types import Chain, NoiseSource, Potential


@gin.register
class Langevin(Sampler):
    """y ← y - (m²s²/2) ∇U(y) + m·s·η·z, K times (spec §3).

    Args:
        num_steps: K; 0 returns the start.
        noise_scale: η; DRL evaluates with 0.99.
        step_factor: m, a factor on the step size that leaves the energy's scale alone.
        max_drift: the largest drift (m²s²/2) ∇U of a step, as a root-mean-square over the elements of a
            sample, in the data's unit; a longer one is shortened to it. None: as it comes.
    """

    def __init__(
        self,
        num_steps: int = 15,
        noise_scale: float = 1.0,
        step_factor: float = 1.0,
        max_drift: float | None = None,
    ) -> None:
        check_integer("Langevin.num_steps", num_steps, low=0)
        check_number("Langevin.noise_scale", noise_scale, low=0)
        check_number("Langevin.step_factor", step_factor, above=0)
        if max_drift is not None:
            check_number("Langevin.max_drift", max_drift, above=0)
        self.num_steps, self.noise_scale, self.step_factor = num_steps, noise_scale, step_factor
        self.max_drift = max_drift

    @torch.no_grad()
    def sample(
        self,
        potential: Potential,
        y: Tensor,
        step_size: Tensor,
        noise: NoiseSource,
        free: Tensor | None = None,
    ) -> Chain:
        """See Sampler.sample."""
        start = y = y.detach()
        step = expand_as(self.step_factor * step_size, y)
        drift, spread = 0.5 * step**2, self.noise_scale * step
        if free is not None:
            drift, spread = drift * free, spread * free
        grad, size = torch.zeros_like(y), y[0].numel() ** 0.5
        for k in range(self.num_steps):
            grad = potential.grad(y)
            down = drift * grad
            if self.max_drift is not None:
                length = expand_as(norm_per_sample(down) / size, y)
                down = down * (self.max_drift / length.clamp(min=self.max_drift))
            y = y - down + spread * noise.normal("langevin", tuple(y.shape[1:]), draw=k)
        return Chain(y, norm_per_sample(grad), norm_per_sample(y - start) / size)
