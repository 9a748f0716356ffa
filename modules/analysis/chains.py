"""Long-run chains: thousands of steps at one level or along the ladder, watched on their way (spec §10)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.analysis.tempering import Replicas
from modules.core.tensors import expand_as, rms_per_sample
from modules.core.types import NoiseSource, Transition
from modules.energies.base import Energy
from modules.energies.recovery import RecoveryPotential, energy_and_grad
from modules.guidance.proposal import proposal_mean
from modules.methods.networks import Networks
from modules.samplers.base import Sampler
from modules.sampling.generation import Generation
from modules.schedules.forward import independent_pair


@dataclass(frozen=True)
class LongChains:
    """n chains at one transition, recorded r times at equal distances (the start first); on the CPU.

    energy: (r, n), U of what the chain follows. displacement: (r, n), root-mean-square of y - y⁰.
    frames: (k, n, *shape), x_s at `frame_records` (k,). clean: like them, x_s denoised by Tweedie's formula,
    for a judge; start and end are its first and last. acceptance: (n,), share of steps taken; None: all.
    swaps: (L-1, n), of chains that were tempered: the share of swaps taken between neighbours, the lowest
    pair first. round_trips: (n,), how often a state came down from the top. origin: where they started.
    """

    t: int
    energy: Tensor
    displacement: Tensor
    frames: Tensor
    frame_records: list[int]
    clean: Tensor
    acceptance: Tensor | None = None
    swaps: Tensor | None = None
    round_trips: Tensor | None = None
    origin: str = ""

    @property
    def start(self) -> Tensor:
        """(n, *shape), denoised."""
        return self.clean[0]

    @property
    def end(self) -> Tensor:
        """(n, *shape), denoised."""
        return self.clean[-1]

    @property
    def name(self) -> str:
        """The level, and where the chains started."""
        return f"level {self.t - 1}" + (f" from {self.origin}" if self.origin else "")

    def rows(self, order: Tensor) -> LongChains:
        """Some of the chains, (m,) indices."""
        mine = vars(self)
        chosen = {k: mine[k][:, order] for k in ("energy", "displacement", "frames", "clean")}
        perhaps = {k: mine[k] for k in ("acceptance", "swaps", "round_trips")}
        chosen |= {k: v[..., order] for k, v in perhaps.items() if v is not None}
        return dataclasses.replace(self, **chosen)


def join(parts: Sequence[LongChains]) -> LongChains:
    """Chains of several batches as one."""

    def whole(name: str, axis: int) -> Tensor | None:
        found = [vars(part)[name] for part in parts]
        return None if found[0] is None else torch.cat(found, axis)

    figures = {name: whole(name, 1) for name in ("energy", "displacement", "frames", "clean")}
    figures |= {name: whole(name, -1) for name in ("acceptance", "swaps", "round_trips")}
    one = parts[0]
    return LongChains(t=one.t, frame_records=one.frame_records, origin=one.origin, **figures)  # type: ignore[arg-type]


@torch.no_grad()
def at_level(
    generation: Generation,
    energy: Energy,
    sampler: Sampler,
    transition: Transition,
    x_s: Tensor,
    x_t: Tensor | None,
    label: Tensor,
    noise: NoiseSource,
    num_records: int,
    num_frames: int = 10,
    each: Callable[[], None] = lambda: None,
    replicas: Replicas | None = None,
    runs: int = 1,
) -> LongChains:
    """Chains at one level: of the recovery conditional p(y | x_t), or of the marginal e^{F_s} without x_t.

    Args:
        generation: its guidance says how labels (b,) enter.
        sampler: runs once between two records: a Langevin of 20 steps records every 20.
        transition: of the b chains, all at one t but for `replicas`.
        x_s: (b, *shape), the start at level s. x_t: like it, or None.
        num_records: r - 1, of `runs` runs of the sampler each.
        num_frames: of which x_s is kept, at equal distances, the first and the last one among them.
        each: called after each record.
        replicas: of tempering: the b chains are those of L levels, the one that is recorded first, the others
            above it, b/L of each; they exchange states after every run of the sampler.
        runs: of the sampler between two records.
    """
    scale = expand_as(transition.y_scale, x_s)
    bound = generation.guidance.energy(energy, transition, label)
    untied = dataclasses.replace(transition, is_top=torch.ones_like(transition.is_top))
    potential = RecoveryPotential(bound, untied if x_t is None else transition, x_s if x_t is None else x_t)

    def denoised(x: Tensor) -> Tensor:
        """x̂ = (x_s + σ̄_s² ∇_{x_s} F_s)/√ᾱ_s (spec §6, §11)."""
        slope = energy_and_grad(bound, scale * x)[1] * scale / expand_as(transition.energy_scale, x)
        return (x - expand_as(transition.sigma_s**2, x) * slope) / expand_as(transition.alpha_s, x)

    y = first = scale * x_s
    sampler = (sampler.untied() if x_t is None else sampler).at(transition)
    step_size = transition.step_size
    shown = sorted({round(i * num_records / max(1, num_frames - 1)) for i in range(num_frames)})
    energies, displacements, frames = [potential(y)], [torch.zeros_like(transition.step_size)], [x_s]
    accepted: list[Tensor] = []
    for run in range(num_records * runs):
        record, rest = divmod(run + 1, runs)
        name = f"record {record}" + (f" and {rest}" if rest else "")
        chain = sampler.sample(potential, y, step_size, noise.child(name))
        y = chain.y
        if run == 0:  # what a warm-up found is kept, so that the law that is watched is the chain's own
            sampler, step_size = sampler.settled(), step_size if chain.step_size is None else chain.step_size
        if chain.acceptance is not None:
            accepted.append(chain.acceptance)
        if replicas is not None:
            y = replicas.swap(potential, y, transition.y_scale, noise.child(f"{name}, swaps"))
        if rest:
            continue
        energies.append(potential(y))
        displacements.append(rms_per_sample(y - first))
        if record in shown:
            frames.append(y / scale)
        each()
    found = LongChains(
        int(transition.t[0]),
        torch.stack(energies).double().cpu(),
        torch.stack(displacements).double().cpu(),
        torch.stack(frames).cpu(),
        shown,
        torch.stack([denoised(x) for x in frames]).cpu(),
        torch.stack(accepted).mean(0).cpu() if accepted else None,
    )
    if replicas is None:
        return found
    lowest = found.rows(torch.arange(len(x_s) // replicas.num_levels))
    return dataclasses.replace(lowest, swaps=replicas.acceptance, round_trips=replicas.round_trips)


@torch.no_grad()
def along_ladder(
    generation: Generation,
    networks: Networks,
    sampler: Sampler,
    x_top: Tensor,
    label: Tensor,
    noise: NoiseSource,
    num_records: int,
    num_frames: int = 10,
    each: Callable[[], None] = lambda: None,
) -> list[LongChains]:
    """`at_level` of the conditionals t = T..1 in turn, from x_T (b, *shape): generation with long chains.

    Each starts at the initializer's proposal and is tied to the end of the one before.
    """
    energy, initializer, schedule = networks.energy, networks.initializer, networks.schedule
    found: list[LongChains] = []
    x_t = x_top
    for t in range(schedule.num_levels, 0, -1):
        transition = schedule.transition(torch.full_like(label, t), x_t.dtype)
        below = noise.child(f"level {t}")
        mean = proposal_mean(generation.guidance, energy, initializer, x_t, transition, label)
        start = initializer.propose(mean, transition, below) / expand_as(transition.y_scale, x_t)
        found.append(
            at_level(
                generation,
                energy,
                sampler,
                transition,
                start,
                x_t,
                label,
                below,
                num_records,
                num_frames,
                each,
            )
        )
        x_t = found[-1].frames[-1].to(x_t.device)
    return found


def starts(
    x: Tensor, transition: Transition, noise: NoiseSource, from_noise: bool = False
) -> tuple[Tensor, Tensor]:
    """x_s, where a chain at the level starts, and the x_t that ties it, from clean images x (b, *shape).

    Both by the forward process with independent noises: then x_s is a draw of the exact conditional given
    x_t, which a shared noise is not. `from_noise`: x_s ~ N(0, I) instead.
    """
    x_s, x_t = independent_pair(x, transition, noise)
    return (noise.normal("start", tuple(x.shape[1:])) if from_noise else x_s), x_t
