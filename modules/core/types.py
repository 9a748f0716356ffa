"""The values that pass between components, and the callables that components are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

EnergyFn = Callable[[Tensor], Tensor]
"""An energy with everything but y bound: y (b, ...) -> E (b,), low where data is likely."""


@dataclass(frozen=True)
class Transition:
    """Every coefficient of the level pair (s, t = s + 1), one entry per sample; spec §1 and §2.

    x_t = alpha_t x + sigma_t ε,  x_s = alpha_s x + sigma_s ε,  x_t = alpha_ts x_s + sigma_ts ε'.
    All fields are (b,). `alpha_*` and `sigma_*` are the square roots of the papers' ᾱ, 1 - ᾱ, α, σ².
    """

    t: Tensor  # int64 in 1..T
    alpha_t: Tensor
    alpha_s: Tensor
    sigma_t: Tensor
    sigma_s: Tensor
    alpha_ts: Tensor
    sigma_ts: Tensor
    posterior_var: Tensor  # β̃_t
    logsnr_t: Tensor
    logsnr_s: Tensor
    energy_scale: Tensor  # log p = -E/energy_scale - tether
    step_size: Tensor  # s_t, the Langevin step
    loss_weight: Tensor  # w_t
    is_top: Tensor  # bool: a marginal model, no tether
    y_scale: Tensor  # of y = y_scale · x_s: √α_t, and 1 at the top (spec §2); 1 at every level in §13

    def map(self, fn: Callable[[Tensor], Tensor]) -> Transition:
        """The transition with `fn` applied to every field (indexing rows, repeating, moving)."""
        return Transition(**{f.name: fn(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True)
class Batch:
    """Clean data: image (b, c, h, w) in [-1, 1] (or points (b, d)), label (b,) int64 with -1 = none.

    Made without a label, each has none.
    """

    image: Tensor
    label: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.label is None:
            none = torch.full((len(self.image),), -1, device=self.image.device)
            object.__setattr__(self, "label", none)


@dataclass(frozen=True)
class Chain:
    """What a sampler returns, detached: the last state y (b, ...) and figures of the way to it."""

    y: Tensor
    grad_norm: Tensor  # (b,) norm of ∇U where the last step started; 0 for an empty chain
    displacement: Tensor  # (b,) root-mean-square of y - y⁰ over the elements of a sample
    acceptance: Tensor | None = None  # (b,) share of steps taken after a warm-up; None: all are
    step_size: Tensor | None = None  # (b,) s as the warm-up left it; None: as it was given
    figures: dict[str, Tensor] = field(default_factory=dict)  # (b,) each, further ones to be watched, by name

    def watched(self) -> dict[str, Tensor]:
        """The figures (b,) that a training step watches by level, by name."""
        found = {"displacement": self.displacement, "chain_grad_norm": self.grad_norm}
        if self.acceptance is not None:
            found["acceptance"] = self.acceptance
        return found | self.figures


@dataclass(frozen=True)
class LossOutput:
    """One scalar loss per trained network, and per-sample figures (b,) to be watched by level.

    `shown` holds samples for a picture by name: the first rows of the batch, detached.
    """

    losses: dict[str, Tensor]
    t: Tensor
    watch: dict[str, Tensor] = field(default_factory=dict)
    shown: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class SelfDifferentiating(Protocol):
    """An EnergyFn that computes its own gradient in y, faster than autograd would."""

    def __call__(self, y: Tensor) -> Tensor:
        """E (b,)."""

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """E (b,) and ∇E, shaped like y, both detached."""


class Potential(Protocol):
    """U(y) = -log p(y | ...) up to a constant."""

    def __call__(self, y: Tensor) -> Tensor:
        """U (b,) of y (b, ...)."""

    def grad(self, y: Tensor) -> Tensor:
        """∇U, shaped like y, detached."""

    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """U (b,) and ∇U, detached."""


@runtime_checkable
class Scaled(Protocol):
    """A potential in the coordinates y = y_scale · x_s, y_scale (b,)."""

    y_scale: Tensor


class NoiseSource(Protocol):
    """Random numbers by purpose: a `modules.core.noise.Noise`, or recorded ones."""

    def normal(self, purpose: str, shape: tuple[int, ...], draw: int = 0) -> Tensor:
        """Standard normals (b, *shape)."""

    def normals(self, purpose: str, shape: tuple[int, ...], count: int) -> Iterator[Tensor]:
        """`normal`'s draws 0..count-1 in turn."""

    def uniform(self, purpose: str, shape: tuple[int, ...] = (), draw: int = 0) -> Tensor:
        """Uniforms in (0, 1), (b, *shape)."""

    def integers(self, purpose: str, low: int, high: int) -> Tensor:
        """Integers (b,) in low..high-1, int64."""

    def child(self, name: str) -> NoiseSource:
        """An independent source, for a part of the work."""

    def take(self, rows: Tensor | slice) -> NoiseSource:
        """The numbers of some of the rows."""

    def to(self, device: torch.device) -> NoiseSource:
        """The same numbers, made on a device."""
