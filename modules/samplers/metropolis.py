"""What Metropolis-adjusted samplers share: leapfrog steps that may be refused (Duane et al. 1987)."""

from __future__ import annotations

import copy
from abc import abstractmethod

import torch
from torch import Tensor

from modules.core.checks import check_integer, check_number
from modules.core.tensors import expand_as, norm_per_sample, rms_per_sample, sum_per_sample
from modules.core.types import Chain, NoiseSource, Potential
from modules.samplers.base import Sampler


class MetropolisSampler(Sampler):
    """Chains whose stationary law is exactly exp(-U), at any step size.

    A step refreshes the momentum, p ← κp + √(1-κ²) z, goes L leapfrog steps of size h = m·s along
    H = U(y) + ||p||²/2, and is taken with probability min(1, e^{-ΔH}); where it is refused, y stays and p
    turns back (Horowitz 1991). Elements that are given have no momentum: the others keep their law.

    Args:
        num_steps: K, after the warm-up; 0 with num_warmup = 0 returns the start.
        step_factor: m, a factor on the step size; with a warm-up, where it begins.
        num_warmup: further steps before, in which each chain's step size is adapted to the target; it is
            fixed afterwards, since chains that keep adapting have another law.
        target: the acceptance that a warm-up aims at.
    """

    num_steps: int
    num_leapfrog = 1
    jitter = 0.0

    def __init__(self, num_steps: int, step_factor: float, num_warmup: int, target: float) -> None:
        name = type(self).__name__
        check_integer(f"{name}.num_steps", num_steps, low=0)
        check_number(f"{name}.step_factor", step_factor, above=0)
        check_integer(f"{name}.num_warmup", num_warmup, low=0)
        check_number(f"{name}.target", target, above=0, below=1)
        self.num_steps, self.step_factor = num_steps, step_factor
        self.num_warmup, self.target = num_warmup, target

    @abstractmethod
    def persistence(self, factor: Tensor) -> Tensor:
        """κ (b,), what a step leaves of the momentum, from h/s (b,)."""

    def settled(self) -> MetropolisSampler:
        """This sampler without a warm-up."""
        other = copy.copy(self)
        other.num_warmup = 0
        return other

    @torch.no_grad()
    def sample(
        self,
        potential: Potential,
        y: Tensor,
        step_size: Tensor,
        noise: NoiseSource,
        free: Tensor | None = None,
    ) -> Chain:
        """See Sampler.sample; the Chain tells the acceptance and the step size after the warm-up."""
        start = y = y.detach()
        shape, total = tuple(y.shape[1:]), self.num_warmup + self.num_steps
        value, grad = potential.value_and_grad(y)
        used = torch.zeros_like(y)
        momentum = noise.normal("first momentum", shape)
        log_chance = noise.uniform("accept", (max(1, total),)).log()
        jitter = (
            1 + self.jitter * (2 * noise.uniform("jitter", (max(1, total),)) - 1) if self.jitter else None
        )
        warmth = _Warmth(step_size, self.num_warmup, self.target)
        accepted = torch.zeros_like(step_size)
        for k, z in enumerate(noise.normals("momentum", shape, total)):
            factor = self.step_factor * warmth.factor(k)
            kept = self.persistence(factor)
            momentum = expand_as(kept, y) * momentum + expand_as((1 - kept**2).sqrt(), y) * z
            if free is not None:
                momentum = momentum * free
            step = factor * step_size if jitter is None else factor * step_size * jitter[:, k]
            used, before = grad, value + 0.5 * sum_per_sample(momentum**2)
            moved, flow, new_value, new_grad = self._flow(potential, y, momentum, grad, step, free)
            gain = before - new_value - 0.5 * sum_per_sample(flow**2)
            taken = log_chance[:, k] < gain  # False where the way led to what isn't a number
            row = expand_as(taken, y)
            y, grad = torch.where(row, moved, y), torch.where(row, new_grad, grad)
            momentum, value = torch.where(row, flow, -momentum), torch.where(taken, new_value, value)
            warmth.learn(k, gain)
            accepted = accepted + taken * (k >= self.num_warmup)
        share = accepted / self.num_steps if self.num_steps else torch.full_like(accepted, torch.nan)
        moved_by = rms_per_sample(y - start)
        settled = step_size * warmth.factor(total)
        return Chain(y, norm_per_sample(used), moved_by, share, settled)

    def _flow(
        self,
        potential: Potential,
        y: Tensor,
        momentum: Tensor,
        grad: Tensor,
        step: Tensor,
        free: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """L leapfrog steps of size `step` (b,): where they end, the momentum, U and ∇U there."""
        size = expand_as(step, y) if free is None else expand_as(step, y) * free
        momentum = momentum - 0.5 * size * grad
        for i in range(self.num_leapfrog):
            y = y + size * momentum
            value, grad = potential.value_and_grad(y)
            momentum = momentum - (size if i < self.num_leapfrog - 1 else 0.5 * size) * grad
        return y, momentum, value, grad


class _Warmth:
    """The factor on each chain's step size, by stochastic approximation while the warm-up lasts.

    ln factor ← ln factor + k^-0.6 (a - target)/(4 target (1 - target)), a the chance of acceptance, as quick
    for a target near 1 as for ½; afterwards its mean over the second half (Polyak and Juditsky 1992). Each
    chain learns by itself: none knows the others.
    """

    def __init__(self, like: Tensor, num_steps: int, target: float) -> None:
        self._log, self._sum = torch.zeros_like(like), torch.zeros_like(like)
        self._num, self._target, self._rate = num_steps, target, 0.25 / (target * (1 - target))

    def factor(self, k: int) -> Tensor:
        """Of step k."""
        if k < self._num or not self._num:
            return self._log.exp()
        return (self._sum / (self._num - self._num // 2)).exp()

    def learn(self, k: int, gain: Tensor) -> None:
        """From -ΔH (b,) of step k."""
        if k < self._num:
            chance = gain.clamp(max=0).exp().nan_to_num(0.0)
            self._log = self._log + self._rate * (k + 1) ** -0.6 * (chance - self._target)
            if k >= self._num // 2:
                self._sum = self._sum + self._log
