"""Unadjusted Langevin dynamics (spec §3)."""

from __future__ import annotations

from collections.abc import Callable

import gin
import torch
from torch import Tensor

from modules.core.checks import check_bool, check_choice, check_compiler, check_integer, check_number
from modules.core.tensors import expand_as, norm_per_sample, rms_per_sample
from modules.core.types import Chain, NoiseSource, Potential, Scaled
from modules.samplers.base import Sampler

_Step = Callable[[Potential, Tensor, Tensor, Tensor, Tensor, float | None], tuple[Tensor, Tensor]]


def _step(
    potential: Potential, y: Tensor, drift: Tensor, spread: Tensor, z: Tensor, max_drift: float | None
) -> tuple[Tensor, Tensor]:
    """The next y, and ∇U at this one."""
    grad = potential.grad(y)
    if max_drift is not None:
        length = rms_per_sample(drift * grad)
        drift = drift * expand_as(max_drift / length.clamp(min=max_drift), y)
    return torch.addcmul(y, drift, grad, value=-1).addcmul_(spread, z), grad


def _compiled(mode: str) -> _Step:
    """`_step` as one graph, made when it is first called with tensors of a size."""
    step = torch.compile(_step, mode=mode, dynamic=False)

    def run(
        potential: Potential, y: Tensor, drift: Tensor, spread: Tensor, z: Tensor, max_drift: float | None
    ) -> tuple[Tensor, Tensor]:
        torch.compiler.cudagraph_mark_step_begin()
        y, grad = step(potential, y, drift, spread, z, max_drift)
        return y.clone(), grad.clone()  # a CUDA graph writes its next results over these

    return run


STEP_FACTORS = {8: 1.4, 5: 2.0, 3: 2.0}
"""m by K, for sampling with fewer steps than trained: measured on digits (docs/tasks.md, "Fewer steps")."""


@gin.register
class Langevin(Sampler):
    """y ← y - (m²s²/2) ∇U(y) + m·s·η·z, K times (spec §3).

    Args:
        num_steps: K; 0 returns the start.
        noise_scale: η; DRL evaluates with 0.99.
        step_factor: m, a factor on the step size that leaves the energy's scale alone.
        compile: how torch.compile makes one graph of a step: "default"; "reduce-overhead", on a GPU a CUDA
            graph; "max-autotune"; None: not at all. Takes seconds to minutes once a batch size, and a C++
            compiler on a CPU.
        max_drift: the largest drift (m²s²/2) ∇U of a step, as a root-mean-square over the elements of a
            sample, in the data's unit; a longer one is shortened to it. None: as it comes.
        clamp: the largest |x_s| of an element, x_s = y/√α_t, to which a larger one is set after every step: 1
            in the published code's switch for guided chains, off there too. None: as it comes.
        corrected: noise times √(1 - m²/4), so that of a Gaussian of width s the variance stays what it is; as
            it comes it grows to 1/(1 - m²/4) of it, wherever the potential is as narrow as the step thinks.
            Long steps of few-step chains live by it where s is that width (spec §13); m below 2.
    """

    num_steps: int

    def __init__(
        self,
        num_steps: int = 15,
        noise_scale: float = 1.0,
        step_factor: float = 1.0,
        compile: str | None = None,
        max_drift: float | None = None,
        clamp: float | None = None,
        corrected: bool = False,
    ) -> None:
        check_integer("Langevin.num_steps", num_steps, low=0)
        check_number("Langevin.noise_scale", noise_scale, low=0)
        check_number("Langevin.step_factor", step_factor, above=0)
        check_choice("Langevin.compile", compile, (None, "default", "reduce-overhead", "max-autotune"))
        if compile is not None:
            check_compiler("Langevin.compile")
        if max_drift is not None:
            check_number("Langevin.max_drift", max_drift, above=0)
        check_bool("Langevin.corrected", corrected)
        if corrected:
            check_number("Langevin.step_factor, where corrected,", step_factor, above=0, below=2)
        self.num_steps, self.noise_scale, self.step_factor = num_steps, noise_scale, step_factor
        self.corrected = corrected
        if clamp is not None:
            check_number("Langevin.clamp", clamp, above=0)
        self.compile, self.max_drift, self.clamp = compile, max_drift, clamp
        self._step = _step if compile is None else _compiled(compile)

    def with_steps(self, num_steps: int, lengthen: bool = False) -> Langevin:
        """This sampler with K = num_steps; `lengthen`: where that is fewer, m is STEP_FACTORS' times its own.

        Not for step sizes that are widths of what is sampled already (spec §13).
        """
        check_integer("steps", num_steps, low=0)
        fewer = lengthen and 0 < num_steps < self.num_steps
        nearest = min(STEP_FACTORS, key=lambda known: abs(known - num_steps))
        factor = self.step_factor * (STEP_FACTORS[nearest] if fewer else 1.0)
        kept = (self.compile, self.max_drift, self.clamp, self.corrected)
        return Langevin(num_steps, self.noise_scale, factor, *kept)

    def untied(self) -> Langevin:
        """Without the correction: where the law is far wider than a step, so little noise would cool it."""
        kept = (self.compile, self.max_drift, self.clamp)
        return Langevin(self.num_steps, self.noise_scale, self.step_factor, *kept) if self.corrected else self

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
        if self.corrected:
            spread = spread * (1 - self.step_factor**2 / 4) ** 0.5
        if free is not None:
            drift, spread = drift * free, spread * free
        bound = None if self.clamp is None else self._bound(self.clamp, potential, y, free)
        grad = torch.zeros_like(y)
        for z in noise.normals("langevin", tuple(y.shape[1:]), self.num_steps):
            y, grad = self._step(potential, y, drift, spread, z, self.max_drift)
            if bound is not None:
                y = y.clamp(-bound, bound)
        return Chain(y, norm_per_sample(grad), rms_per_sample(y - start))

    @staticmethod
    def _bound(clamp: float, potential: Potential, y: Tensor, free: Tensor | None) -> Tensor:
        """The largest |y|, broadcastable to y; none for elements that are given."""
        scale = potential.y_scale if isinstance(potential, Scaled) else y.new_ones(len(y))
        bound = clamp * expand_as(scale, y)
        return bound if free is None else torch.where(free > 0, bound, torch.inf)
