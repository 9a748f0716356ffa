"""Energies made of a network from images to images (spec §13)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import gin
import torch
from torch import Tensor, nn

from modules.core.checks import check_choice, check_instance, check_number
from modules.core.tensors import expand_as, sum_per_sample
from modules.core.types import EnergyFn, Transition
from modules.energies.base import Energy, Slopes
from modules.layers import backbone
from modules.layers.embeddings import check_no_label

NetworkPull = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""A gradient in the network's output -> the gradients in x and, if wanted, in the level (b,)."""
Linearized = Callable[[Tensor], tuple[Tensor, NetworkPull]]
"""x -> h(x) and its pull, in differentiable operations; level and label are bound."""


class ImageEnergy(Energy):
    """E of a network h(x, λ[, label]) that gives an image, between two exact Gaussians (spec §13).

    With ᾱ, σ̄² of the level, data of second moment v, m² = ᾱv + σ̄², k = σ̄/m², a = √ᾱ√v/m and h at x/m:

        "product"    E = ½k||x||² + a<x, h>
        "residual"   E = ½k||x||² + a<x, h> + ½a²||h||²

    so that ∇E = ε's expectation of Gaussian data where h is 0, and what is left for a·h is of order a at
    every level. Without v ("plain", spec §13's own form) k = a = m = 1.

    Args:
        shape: (channels, height, width), or (dimension,).
        num_classes: labels 0..num_classes-1; 0: unconditional.
        form: "product" or "residual".
        data_var: v, the mean square of the data's elements; None: plain.

    Raises:
        ConfigurationError: a form or a data_var that is none.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int = 0,
        form: str = "product",
        data_var: float | None = 0.5,
    ) -> None:
        super().__init__(shape, num_classes)
        name = type(self).__name__
        check_choice(f"{name}.form", form, ("product", "residual"))
        if data_var is not None:
            check_number(f"{name}.data_var", data_var, above=0)
        self.form, self.data_var = form, data_var

    @abstractmethod
    def network(self, logsnr: Tensor, label: Tensor | None, with_level: bool) -> Linearized:
        """h at λ (b,) and label, as a function of x; `with_level`: its pull gives the gradient in λ too."""

    def log_partition(self, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        """½D log m² and its slope in λ: where h is 0, p is N(0, m² I) at every level."""
        if self.data_var is None:
            return super().log_partition(logsnr)
        frame, size = _Frame.at(logsnr, self.data_var), math.prod(self.shape)
        rate = frame.inverse_scale_slope / frame.inverse_scale  # d log(1/m)/dλ
        return -size * frame.inverse_scale.log(), -size * rate

    def forward(self, y: Tensor, transition: Transition, label: Tensor | None = None) -> Tensor:
        """E (b,)."""
        return self.at(transition, label)(y)

    def at(self, transition: Transition, label: Tensor | None = None) -> EnergyFn:
        """y -> E(y), with its gradient; the weights are used as they are when it is called."""
        if not self.num_classes:
            check_no_label(self, label)
        frame = _Frame.at(transition.logsnr_s, self.data_var)
        return _AtLevel(self, frame, self.network(transition.logsnr_s, label, False), transition.y_scale)

    def slopes(self, x: Tensor, logsnr: Tensor, label: Tensor | None = None) -> Slopes:
        """E, ∇E and ∂E/∂λ at x (b, ...) and λ (b,), in differentiable operations (spec §13)."""
        if not self.num_classes:
            check_no_label(self, label)
        frame = _Frame.at(logsnr, self.data_var)
        return self._slopes(x, frame, self.network(logsnr, label, True))

    def _slopes(self, x: Tensor, frame: _Frame, network: Linearized) -> Slopes:
        a, scale = expand_as(frame.weight, x), expand_as(frame.inverse_scale, x)
        h, pull = network(scale * x)
        linear, square = a * x, sum_per_sample(x**2)
        out = frame.curvature * (0.5 * square) + sum_per_sample(linear * h)
        in_h = linear
        if self.form == "residual":
            out = out + 0.5 * frame.weight**2 * sum_per_sample(h**2)
            in_h = linear + a**2 * h
        in_scaled, in_level = pull(in_h)
        slope = expand_as(frame.curvature, x) * x + a * h + scale * in_scaled
        level = None
        if in_level is not None:
            moved_weight = sum_per_sample(in_h * h)  # ∂E/∂a · a
            level = (
                frame.curvature_slope * (0.5 * square)
                + frame.weight_rate * moved_weight
                + frame.inverse_scale_slope * sum_per_sample(x * in_scaled)
                + in_level
            )
        return Slopes(out, slope, level)


@dataclass(frozen=True)
class _Frame:
    """k, a and 1/m of levels λ (b,), and how they change with λ."""

    curvature: Tensor
    weight: Tensor
    inverse_scale: Tensor
    curvature_slope: Tensor  # dk/dλ
    weight_rate: Tensor  # d log a/dλ
    inverse_scale_slope: Tensor  # d(1/m)/dλ

    @classmethod
    def at(cls, logsnr: Tensor, data_var: float | None) -> _Frame:
        one, zero = torch.ones_like(logsnr), torch.zeros_like(logsnr)
        if data_var is None:
            return cls(one, one, one, zero, zero, zero)
        alpha_bar, noise_var = torch.sigmoid(logsnr), torch.sigmoid(-logsnr)
        total = alpha_bar * data_var + noise_var  # m²
        # dᾱ/dλ = ᾱσ̄², dσ̄²/dλ = -ᾱσ̄², so d log m²/dλ:
        rate = alpha_bar * noise_var * (data_var - 1) / total
        curvature = noise_var.sqrt() / total
        inverse_scale = total.rsqrt()
        return cls(
            curvature,
            (alpha_bar * data_var / total).sqrt(),
            inverse_scale,
            curvature * (-0.5 * alpha_bar - rate),
            0.5 * (noise_var - rate),
            -0.5 * rate * inverse_scale,
        )


@dataclass(frozen=True)
class _AtLevel:
    """y -> E(y/y_scale) at a level, which computes its own gradient."""

    energy: ImageEnergy
    frame: _Frame
    network: Linearized
    y_scale: Tensor

    def __call__(self, y: Tensor) -> Tensor:
        """E (b,), differentiable."""
        x = y / expand_as(self.y_scale, y)
        h, _ = self.network(x * expand_as(self.frame.inverse_scale, x))
        out = 0.5 * self.frame.curvature * sum_per_sample(x**2) + self.frame.weight * sum_per_sample(x * h)
        if self.energy.form == "residual":
            out = out + 0.5 * self.frame.weight**2 * sum_per_sample(h**2)
        return out

    @torch.no_grad()
    def value_and_grad(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """E (b,) and ∇E, shaped like y, without an autograd graph."""
        scale = expand_as(self.y_scale, y)
        found = self.energy._slopes(y / scale, self.frame, self.network)
        return found.value, found.in_x / scale


@gin.register
class NetworkEnergy(ImageEnergy):
    """ImageEnergy of any network of the user's own: h = network(x, λ[, label]), shaped like x.

    NetworkInitializer takes the same networks.

    Gradients go through autograd, a loss of them through its double backward: the network must be smooth.

    Args:
        network: called as network(x, logsnr) or, with classes, network(x, logsnr, label): (b, *shape),
            (b,), (b,) int64 with -1 = none. Its last layer had better start at zero.
        shape, num_classes, form, data_var: see ImageEnergy.
    """

    kept_as: ClassVar[dict[str, str]] = {"network": "net"}

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        num_classes: int = 0,
        form: str = "product",
        data_var: float | None = 0.5,
    ) -> None:
        super().__init__(shape, num_classes, form, data_var)
        check_instance("NetworkEnergy.network", network, nn.Module)
        self.net = network

    def network(self, logsnr: Tensor, label: Tensor | None, with_level: bool) -> Linearized:
        """As ImageEnergy's."""

        def linearize(x: Tensor) -> tuple[Tensor, NetworkPull]:
            learning = torch.is_grad_enabled()
            with torch.enable_grad():
                level = logsnr if logsnr.requires_grad else logsnr.detach().requires_grad_(with_level)
                at = x if x.requires_grad else x.detach().requires_grad_()
                out = backbone.evaluate(self.net, at, level, label, self.num_classes)

            def pull(g: Tensor) -> tuple[Tensor, Tensor | None]:
                inputs = (at, level) if with_level else (at,)
                with torch.enable_grad():
                    # zeros where the network doesn't look at the level
                    found = torch.autograd.grad(out, inputs, g, create_graph=learning, materialize_grads=True)
                return found[0], found[1] if with_level else None

            return (out if learning else out.detach()), pull

        return linearize
